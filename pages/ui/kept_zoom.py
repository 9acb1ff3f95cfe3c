"""Keeps the wheel's zoom of a chart when its colours change.

Streamlit replaces a chart's whole option at any change of it, and with it how far the wheel has zoomed. The chart is
to be found in the state of the component that draws it alone, so that is where this looks, at the first turn of the
wheel; should it not be there in some later version, zoom is lost at a change, and nothing else.
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
function keepZoom(chart) {
    const replace = chart.setOption;
    chart.keepsZoom = true;
    chart.setOption = function (option, ...rest) {
        const before = this.getOption();
        if (before?.dataZoom && option.dataZoom && spans(before) === spans(option))  // another view starts unzoomed
            option = { ...option, dataZoom: option.dataZoom.map((zoom, place) => {
                const { start, end } = before.dataZoom[place];
                return { ...zoom, start, end };
            }) };
        return replace.call(this, option, ...rest);
    };
}
export default function ({ data }) {
    const wheel = (event) => {
        const element = event.target.closest?.(".st-key-" + data.container + " [data-testid=stEChartsChart]");
        const chart = element && chartOf(element);
        if (chart && !chart.keepsZoom) keepZoom(chart);
    };
    document.addEventListener("wheel", wheel, { capture: true, passive: true });
    return () => document.removeEventListener("wheel", wheel, true);
}
"""

_keeper = component("delift_kept_zoom", js=_SCRIPT)


def keep_zoom(container: str) -> None:
    """Lets the charts of a keyed container keep their zoom."""
    _keeper(data={"container": container}, key=f"zoom_of_{container}")
