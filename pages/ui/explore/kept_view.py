"""Keeps a chart's zoom and drawing tool when its colours or marks change.

Streamlit replaces the whole option of a chart at each change, which resets the zoom and the selected tool: after every
edit of picked rows, the tool would have to be chosen again. Streamlit offers no access to the chart, which is only in
the state of the React component that draws it. If a later version keeps it elsewhere, zoom and tool are reset at a
change, and nothing else.
"""

from streamlit.components.v2 import component

_SCRIPT = """
function chartOf(element) {
    let fiber = element?.[Object.keys(element).find((key) => key.startsWith("__reactFiber$"))];
    for (; fiber; fiber = fiber.return)
        for (let hook = fiber.memoizedState; hook?.next !== undefined; hook = hook.next)
            if (hook.memoizedState?.setOption && hook.memoizedState.getOption) return hook.memoizedState;
}
const spans = (option) => JSON.stringify([option.xAxis, option.yAxis].flat().map((axis) => [axis.min, axis.max]));
function tool(chart) {
    const brush = chart.getModel?.()?.getComponent("brush");
    return brush && { brushType: brush.brushType, brushMode: brush.brushOption?.brushMode };
}
function take(chart, tool) {
    if (tool?.brushType) chart.dispatchAction({ type: "takeGlobalCursor", key: "brush", brushOption: tool });
}
function keepView(chart, inHand) {
    const replace = chart.setOption;
    chart.keepsView = true;
    chart.setOption = function (option, ...rest) {
        const before = this.getOption();
        inHand.tool = tool(this);
        if (before?.dataZoom && option.dataZoom && spans(before) === spans(option))  // a new view starts without zoom
            option = { ...option, dataZoom: option.dataZoom.map((zoom, place) => {
                const { start, end } = before.dataZoom[place];
                return { ...zoom, start, end };
            }) };
        const result = replace.call(this, option, ...rest);
        take(this, inHand.tool);
        return result;
    };
    take(chart, inHand.tool);  // a new chart in place of an earlier one
    const dispatch = chart.dispatchAction;
    chart.dispatchAction = function (action, ...rest) {
        const result = dispatch.call(this, action, ...rest);
        if (action.type === "takeGlobalCursor") inHand.tool = tool(this);
        return result;
    };
}
export default function ({ data }) {
    const inHand = ((window.deliftTools ??= {})[data.container] ??= {});
    const come = (event) => {
        const element = event.target.closest?.(".st-key-" + data.container + " [data-testid=stEChartsChart]");
        const chart = element && chartOf(element);
        if (chart && !chart.keepsView) keepView(chart, inHand);
    };
    const kinds = ["wheel", "pointermove", "pointerdown"];
    for (const kind of kinds) document.addEventListener(kind, come, { capture: true, passive: true });
    return () => kinds.forEach((kind) => document.removeEventListener(kind, come, true));
}
"""

_keeper = component("delift_kept_view", js=_SCRIPT)


def keep_view(container: str) -> None:
    """Makes the charts in a keyed container keep their zoom and tool."""
    _keeper(data={"container": container}, key=f"view_of_{container}")
