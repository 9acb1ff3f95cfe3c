"""What the browser runs for the open row: it shows rows that the server has sent ahead, and reports what was done.

A rerun of the page takes half a second or more, so the browser does not wait for it. It shows the next row at once and
reports each key or click as [visit, count, action, row that was shown, row shown now], in order, until the server has
confirmed it. While a run goes on, reports wait, so that each run ends and the list follows; a click anywhere sends them
first. Texts of rows are untrusted: they are only ever set as `textContent`.
"""

CSS = """
.reader { color: var(--st-text-color); font-size: 0.95rem; overflow-wrap: anywhere; }
.reader .bar { display: flex; flex-wrap: wrap; gap: 0.35rem; margin: 0.4rem 0; }
.reader button { font: inherit; font-size: 0.87rem; color: inherit; cursor: pointer; padding: 0.28rem 0.6rem;
    border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius, 0.5rem);
    background: var(--st-background-color); }
.reader button:hover:not(:disabled) { border-color: var(--st-primary-color); }
.reader button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
.reader button:disabled { opacity: 0.45; cursor: default; }
.reader kbd { font-family: var(--st-code-font, monospace); font-size: 0.78rem; margin-left: 0.35rem; padding: 0 0.25rem;
    border: 1px solid var(--st-border-color); border-radius: 0.25rem; }
.reader h2 { font-size: 1.15rem; font-weight: 600; margin: 0; padding: 0; }
.reader h3 { font-size: 0.95rem; font-weight: 600; margin: 0.9rem 0 0.3rem; padding: 0; }
.reader .head { display: flex; flex-wrap: wrap; gap: 0.3rem 0.6rem; align-items: center; }
.reader .chip { font-size: 0.82rem; padding: 0.05rem 0.5rem; border: 1px solid currentColor; border-radius: 1rem; }
.reader .chip.kept-by-hand, .reader .chip.dropped-by-hand { font-weight: 650; border-width: 2px; }
.reader .small { font-size: 0.85rem; margin: 0.2rem 0; }
.reader .said { min-height: 1.3em; font-weight: 600; }
.reader .turn { white-space: pre-wrap; margin: 0 0 0.5rem; padding: 0.6rem 0.75rem; line-height: 1.5;
    border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius, 0.5rem);
    background: var(--st-secondary-background-color); }
.reader .role { font-size: 0.82rem; font-weight: 600; margin: 0.4rem 0 0.15rem; }
.reader p { margin: 0.25rem 0; }
.reader ul { list-style: none; margin: 0; padding: 0; }
.reader li { margin: 0 0 0.35rem; padding: 0; font-size: inherit; }
.reader button.row { border: 0; padding: 0.1rem 0.2rem; text-align: left; background: none; text-decoration: underline;
    text-decoration-color: var(--st-border-color); text-underline-offset: 3px; font-size: 0.92rem; }
.reader .track { height: 6px; margin: 0.15rem 0.2rem; border-radius: 3px; background: var(--st-border-color); }
.reader .fill { height: 6px; border-radius: 3px; background: var(--st-primary-color); }
.reader .fill.weak { opacity: 0.45; }
.reader summary { cursor: pointer; font-size: 0.88rem; padding: 0.2rem 0; }
.reader dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.15rem 0.8rem; margin: 0.3rem 0;
    padding: 0.6rem; border: 1px solid var(--st-border-color); border-radius: 0.5rem; font-size: 0.88rem; }
.reader dt, .reader dd { margin: 0; }
@media (max-width: 640px) {  /* the row before the list */
    .st-key-reading_screen [data-testid=stHorizontalBlock]:has(> [data-testid=stColumn] .st-key-reading) {
        flex-direction: column-reverse; }
    .st-key-reading_screen [data-testid=stHorizontalBlock]:has(> [data-testid=stColumn] .st-key-reading)
        > [data-testid=stColumn] { width: 100%; flex: none; }
}
.st-key-reading [data-stale=true] { opacity: 1 !important; }
.st-key-reader_more.behind { visibility: hidden; }
"""

SCRIPT = """
const OLD = 10_000;  // milliseconds after which an unconfirmed report is dropped
const LONGEST_WAIT = 3_000;  // milliseconds after which a run is not waited for any more
const KEYS = { k: "keep", d: "drop", n: "next", p: "previous", arrowright: "next", arrowleft: "previous", u: "undo",
    y: "redo", e: "edit", "?": "keys" };
const WORDS = [["K", "Keep the row and go on"], ["D", "Drop the row and go on"], ["N or \\u2192", "Next row"],
    ["P or \\u2190", "Previous row"], ["U", "Undo the last edit, and go back to its row"], ["Y", "Redo"],
    ["E", "Edit the text"], ["?", "Show or hide this list"]];
const BY_HAND = { keep: ["kept-by-hand", "Kept by hand"], drop: ["dropped-by-hand", "Dropped by hand"] };
const running = () => document.querySelector("[data-testid=stApp]")?.dataset.testScriptState === "running";

function make(tag, name, text, attributes = {}) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
}

// One memory for the window: a run may draw the component again, and no report may be lost.
function begin() {
    const memory = { visit: `${Date.now()} ${Math.random()}`, count: 0, waiting: [], sent: 0, since: 0, data: null,
        rows: new Map(), order: [], shown: null, said: "", keysOpen: false, decided: [], read: new Set(), ahead: 0 };
    const here = () => memory.root?.isConnected;
    document.addEventListener("keydown", (event) => {
        if (!here() || event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.target.closest?.("input, textarea, select, [contenteditable=true], [role=dialog]")) return;
        if (event.target.closest?.("[role=radiogroup], [role=slider], canvas") && event.key.startsWith("Arrow")) return;
        const action = KEYS[event.key.toLowerCase()];
        if (!action || (event.shiftKey && action !== "keys")) return;
        if (!memory.data.may_edit && !["next", "previous", "keys"].includes(action)) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        if (!event.repeat) act(memory, action);
    }, true);
    document.addEventListener("pointerdown", (event) => {
        if (here() && !memory.root.contains(event.target)) send(memory, true);
    }, true);
    // A link to another page waits until the server has every report: a report on its way would lead back here.
    document.addEventListener("click", (event) => {
        const link = event.target.closest?.("a[href]");
        if (!here() || !link || !memory.waiting.length || memory.leave === link) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        memory.leave = link;
        memory.leaving = Date.now();
        send(memory, true);
    }, true);
    setInterval(() => {
        if (here() && memory.waiting.length) send(memory);
        if (memory.leave && Date.now() - memory.leaving > LONGEST_WAIT) leave(memory);
    }, 250);
    return memory;
}

function leave(memory) {
    const link = memory.leave;
    if (link?.isConnected) link.click();
    memory.leave = null;
}

function send(memory, now = false) {
    const newest = memory.waiting.at(-1)?.press[1] ?? 0;
    const stuck = Date.now() - memory.since > LONGEST_WAIT;
    if (newest <= memory.sent && !(stuck && memory.waiting.length && !running())) return;
    if (!now && running() && !stuck) return;
    memory.sent = newest;
    memory.since = Date.now();
    memory.state("presses", memory.waiting.map(({ press }) => press));
}

function report(memory, action, row, to) {
    memory.count += 1;
    memory.waiting.push({ at: Date.now(), press: [memory.visit, memory.count, action, row, to] });
    send(memory);
}

function neighbour(memory, step) {
    const at = memory.order.indexOf(memory.shown);
    return at < 0 ? null : memory.order[at + step] ?? null;
}

// Whether the list has no row after a step: the browser knows a part of the list only.
function atEdge(memory, by) {
    return neighbour(memory, by) === null && (by > 0 ? memory.data.ends : memory.data.starts);
}

// The row after a step; the same row if there is none, or if it has not arrived yet: the step is made when it does.
function step(memory, by) {
    const to = memory.ahead ? null : neighbour(memory, by);
    if (memory.rows.has(to)) return to;
    if (memory.ahead || to !== null || !atEdge(memory, by)) memory.ahead += by;
    return memory.shown;
}

// Makes the steps that were asked for before their rows arrived.
function catchUp(memory) {
    while (memory.ahead) {
        const by = Math.sign(memory.ahead), to = neighbour(memory, by), left = memory.ahead - by;
        if (to === null && atEdge(memory, by)) memory.ahead = 0;
        if (!memory.rows.has(to)) return;
        memory.read.add(to);
        report(memory, "show", memory.shown, to);
        show(memory, to);
        memory.ahead = left;
    }
}

function show(memory, id) {
    if (memory.rows.has(id) && id !== memory.shown) {
        memory.shown = id;
        memory.ahead = 0;
        const top = memory.root.getBoundingClientRect().top;
        if (top < 0) memory.root.scrollIntoView({ block: "start" });
    }
    draw(memory);
}

function act(memory, action) {
    const row = memory.rows.get(memory.shown);
    if (!row) return;
    if (action === "keys") { memory.keysOpen = !memory.keysOpen; return draw(memory); }
    let to = memory.shown;
    if (action === "keep" || action === "drop") {
        memory.said = saidOf(action, row);
        [row.status, row.words] = BY_HAND[action];
        memory.decided.push(row.id);
        to = step(memory, 1);
        if (to === row.id && !memory.ahead) memory.said += " This is the last row of the list.";
    } else if (action === "next" || action === "previous") {
        to = step(memory, action === "next" ? 1 : -1);
        if (to === row.id) {
            if (!memory.ahead) memory.said = action === "next" ? "This is the last row." : "This is the first row.";
            return draw(memory);
        }
        memory.said = "";
    } else if (action === "undo") {
        const before = memory.decided.pop();
        if (before && memory.rows.has(before)) to = before;
    }
    memory.read.add(row.id).add(to);
    report(memory, action, row.id, to);
    show(memory, to);
}

function saidOf(action, row) {
    const inside = row.status === "chosen" || row.status === "kept-by-hand";
    if (action === "keep")
        return `Kept: ${row.place}` + (inside ? ", pinned: it was chosen already and now always stays in." : ".");
    return `Dropped: ${row.place}` + (inside ? "." : ", pinned out: it was left out already and now always stays out.");
}

function go(memory, id) {  // to any row of the pool; one that is not here yet arrives with the next run
    const from = memory.shown;
    memory.said = "";
    memory.read.add(from).add(id);
    report(memory, "show", from, id);
    show(memory, id);
}

function button(words, key, act, disabled = false) {
    const made = make("button", "", words, { type: "button" });
    if (key) {
        made.append(make("kbd", "", key, { "aria-hidden": "true" }));
        made.setAttribute("aria-keyshortcuts", key);
    }
    made.disabled = disabled;
    made.addEventListener("click", act);
    return made;
}

function link(memory, other) {
    const made = make("button", "row", other.text, { type: "button" });
    made.addEventListener("click", () => go(memory, other.id));
    return made;
}

function turnsOf(turns) {
    const box = make("div");
    for (const turn of turns) box.append(make("p", "role", turn.role), make("div", "turn", turn.text, { dir: "auto" }));
    return box;
}

function whyOf(memory, row) {
    const box = make("section", "", undefined, { "aria-label": "Why" });
    const why = row.why;
    if (!why) { box.append(make("p", "small", "The reason is being looked up.")); return box; }
    box.append(make("p", "lead", why.lead));
    if (why.same) {
        const line = make("p", "", "Does the same job as: ");
        line.append(link(memory, why.same), ` (${why.same.words.toLowerCase()})`);
        const more = make("details");
        more.append(make("summary", "", "Read it here"), turnsOf(why.same.turns));
        box.append(line, more);
    }
    return box;
}

function helpsOf(memory, row) {
    const box = make("section", "", undefined, { "aria-label": "Rows that it helps" }), why = row.why;
    if (!why) return box;
    box.append(make("h3", "", why.heading));
    const list = make("ul");
    for (const one of why.helps) {
        const item = make("li"), track = make("div", "track", undefined, { "aria-hidden": "true" });
        const fill = make("div", one.weak ? "fill weak" : "fill");
        fill.style.width = `${Math.max(2, Math.round(100 * one.share))}%`;
        track.append(fill);
        item.append(link(memory, one));
        if (one.weak) item.append(make("span", "chip", "weak", { title: "Within the noise of the scores" }));
        item.append(track);
        if (one.by !== undefined) {
            const by = make("p", "small", one.by ? one.by.how : "No chosen row helps it.");
            if (one.by) by.append(" ", link(memory, one.by));
            item.append(by);
        }
        list.append(item);
    }
    if (why.helps.length) box.append(list);
    if (why.next) {
        const next = make("p", "small", "Next in line for its place: ");
        next.append(link(memory, why.next));
        box.append(next);
    }
    if (why.certainty) box.append(make("p", "small", why.certainty));
    const numbers = make("details");
    numbers.append(make("summary", "", "Numbers"), make("p", "small", why.numbers));
    box.append(numbers);
    return box;
}

function barOf(memory) {
    const bar = make("div", "bar", undefined, { role: "toolbar", "aria-label": "Open row" });
    const can = memory.data.may_edit, on = (action) => () => act(memory, action);
    bar.append(button("Keep", "K", on("keep"), !can), button("Drop", "D", on("drop"), !can),
        button("Previous", "P", on("previous"), atEdge(memory, -1)),
        button("Next", "N", on("next"), atEdge(memory, 1)),
        button("Undo", "U", on("undo"), !can || !(memory.data.can_undo || memory.waiting.length)),
        button("Redo", "Y", on("redo"), !can || !memory.data.can_redo),
        button("Reset", "", on("reset"), !can), button("Edit text", "E", on("edit"), !can),
        button("Similar rows", "", on("similar")));
    const keys = button("Keys", "?", on("keys"));
    keys.setAttribute("aria-expanded", String(memory.keysOpen));
    bar.append(keys);
    return bar;
}

function draw(memory) {
    const { root, data } = memory, row = memory.rows.get(memory.shown);
    if (!root?.isConnected || !row) return;
    const inside = root.contains(document.activeElement) ? document.activeElement.textContent : null;
    const head = make("div", "head");
    head.append(make("h2", "", row.place[0].toUpperCase() + row.place.slice(1)),
        make("span", `chip ${row.status}`, row.words));
    for (const tag of row.tags) head.append(make("span", "chip", tag));
    const at = memory.order.indexOf(memory.shown), first = memory.order.indexOf(data.current);
    const place = data.at === null || at < 0 || first < 0 ? "Not in the list" :
        `${(data.at + at - first + 1).toLocaleString("en")} of ${data.total.toLocaleString("en")}`;
    const read = data.read + [...memory.read].filter((id) => memory.rows.get(id)?.read === false).length;
    const all = data.rows_in_view;
    const count = `${Math.min(read, all).toLocaleString("en")} of ${all.toLocaleString("en")} read`;
    head.append(make("span", "small", `${place} \\u00b7 ${count}`));
    const parts = [head, barOf(memory), make("p", "small said", memory.said, { role: "status" })];
    if (memory.keysOpen) {
        const list = make("dl");
        for (const [key, words] of WORDS) {
            const term = make("dt");
            term.append(make("kbd", "", key));
            list.append(term, make("dd", "", words));
        }
        parts.push(list);
    }
    if (row.note) parts.push(make("p", "small", `Note: ${row.note}`));
    if (data.editing !== row.id) {
        const record = make("details");
        record.append(make("summary", "", "Original record"), make("div", "turn", row.record));
        parts.push(whyOf(memory, row), turnsOf(row.turns), helpsOf(memory, row), record,
            make("p", "small", `${row.source} \\u00b7 id ${row.id}`));
    }
    root.replaceChildren(...parts);
    root.setAttribute("aria-label", `Open row: ${row.place}`);
    const same = (one) => one.textContent === inside && !one.disabled;
    if (inside) [...root.querySelectorAll("button, summary")].find(same)?.focus({ preventScroll: true });
    document.querySelector(".st-key-reader_more")?.classList.toggle("behind", data.current !== row.id);
}

export default function ({ data, setStateValue, parentElement }) {
    const memory = (window.deliftReader ??= begin());
    const [visit, done] = data.done;
    memory.waiting = memory.waiting.filter(
        ({ at, press }) => !(visit === memory.visit && press[1] <= done) && Date.now() - at < OLD);
    memory.root = parentElement.querySelector(".reader") ?? parentElement.appendChild(make("section", "reader"));
    memory.data = data;
    memory.state = (name, value) => { if (parentElement.isConnected) setStateValue(name, value); };
    const latest = new Map();  // what waiting reports decided: the server does not know yet
    for (const { press } of memory.waiting) if (BY_HAND[press[2]]) latest.set(press[3], BY_HAND[press[2]]);
    if (memory.view !== data.view) { memory.rows.clear(); memory.read.clear(); memory.view = data.view; }
    for (const row of data.rows) {
        const before = memory.rows.get(row.id);
        if (latest.has(row.id)) [row.status, row.words] = latest.get(row.id);
        if (!row.why && before?.why) row.why = before.why;
        memory.rows.set(row.id, row);
    }
    if (!memory.waiting.length) {
        for (const id of memory.read) if (memory.rows.has(id)) memory.rows.get(id).read = true;
        memory.read.clear();  // the server counts them now
        memory.order = data.queue;
        if (!memory.ahead) memory.shown = data.current;
        if (data.said) memory.said = data.said;
    } else if (data.queue.includes(memory.shown)) memory.order = data.queue;
    catchUp(memory);
    if (!memory.rows.has(memory.shown)) memory.shown = data.current;
    draw(memory);
    if (memory.leave && !memory.waiting.length) leave(memory);
    send(memory);
}
"""
