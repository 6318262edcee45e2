//! The picture of a run: how long work takes as the repository grows, and how many times as fast as its peers this
//! tool is. Times, sizes and ratios are all on logarithmic axes.

use std::collections::BTreeMap;

use crate::registry::Network;
use crate::report::{Comparison, Section, seconds};

const WIDTH: f64 = 1000.0;
/// Where the axes start and end. What the lines are stands to the right of them.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 640.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 400.0;
/// Where the bars of the ratios start and end, and how high one is with the space below it.
const BARS_LEFT: f64 = 520.0;
const BARS_RIGHT: f64 = 920.0;
const BAR: f64 = 22.0;

/// Colours that can be told apart on white and on black, also by most people who see fewer colours.
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c6bb1", "#7f7f7f"];

/// A page that is readable on a light and on a dark background.
const STYLE: &str = "<style>
  svg { background: #ffffff; color: #1f2328; font: 13px system-ui, sans-serif; }
  @media (prefers-color-scheme: dark) { svg { background: #0d1117; color: #e6edf3; } }
  text { fill: currentColor; }
  .title { font-size: 16px; font-weight: 600; }
  .axis { stroke: currentColor; stroke-opacity: 0.25; }
  .one { stroke: currentColor; }
</style>
";

/// The picture as SVG.
pub fn svg(sections: &[Section]) -> String {
    let of_name = |name: &str| sections.iter().filter(|section| section.name == name).collect::<Vec<_>>();
    let growing: Vec<&Comparison> =
        ["discover", "scale"].iter().flat_map(|name| of_name(name)).flat_map(|section| &section.comparisons).collect();
    let compared = sections.iter().filter(|section| section.name != "scale").flat_map(|section| &section.comparisons);
    let compared: Vec<&Comparison> = compared.filter(|comparison| comparison.ratio().is_some()).collect();
    let (lines, start) = match series(&growing) {
        series if series.is_empty() => (String::new(), 20.0),
        series => (lines(&series), BOTTOM + 80.0),
    };
    let (bars, end) = bars(&compared, start);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {end}\" width=\"{WIDTH}\" height=\"{end}\">\n\
         {STYLE}{lines}{bars}</svg>\n"
    )
}

/// A line of the picture: whether it is a peer's, and what it is called. This tool's come first.
type Name = (bool, String);

/// The points of each line, size and seconds, of everything that was measured at several sizes.
fn series(comparisons: &[&Comparison]) -> BTreeMap<Name, BTreeMap<usize, f64>> {
    let mut series: BTreeMap<Name, BTreeMap<usize, f64>> = BTreeMap::new();
    for one in comparisons {
        if comparisons.iter().all(|other| other.work != one.work || other.size == one.size) {
            continue;
        }
        let far = if one.network == Some(Network::Far) { ", 50 ms" } else { "" };
        let mut add = |is_peer: bool, name: &str, seconds: f64| {
            series.entry((is_peer, format!("{name}{far}"))).or_default().insert(one.size, seconds);
        };
        add(false, one.work, one.ours.wall());
        if let Some(peer) = &one.peer {
            add(true, &peer.name, peer.measured.wall());
        }
    }
    series
}

/// The first power of ten at or below a value, and the first at or above another.
fn decades(smallest: f64, largest: f64) -> (i32, i32) {
    // Both are between nanoseconds and years, far within what an `i32` holds.
    (smallest.log10().floor() as i32, largest.log10().ceil() as i32)
}

/// Where a value stands on a logarithmic axis between two powers of ten.
fn place(value: f64, (low, high): (i32, i32), start: f64, end: f64) -> f64 {
    let part = (value.log10() - f64::from(low)) / f64::from((high - low).max(1));
    start + part * (end - start)
}

fn lines(series: &BTreeMap<Name, BTreeMap<usize, f64>>) -> String {
    let points = || series.values().flatten();
    let extent = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        decades(low, high)
    };
    let xs = extent(&mut points().map(|(&size, _)| size as f64));
    let ys = extent(&mut points().map(|(_, &seconds)| seconds));
    let mut svg =
        format!("<text class=\"title\" x=\"{LEFT}\" y=\"28\">Time by the number of jobs (dashed: peers)</text>\n");
    for power in xs.0..=xs.1 {
        let x = place(10f64.powi(power), xs, LEFT, RIGHT);
        svg += &format!("<line class=\"axis\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{BOTTOM}\"/>\n");
        svg += &text(x, BOTTOM + 20.0, "middle", &format!("{}", 10f64.powi(power)));
    }
    for power in ys.0..=ys.1 {
        let y = place(10f64.powi(power), ys, BOTTOM, TOP);
        svg += &format!("<line class=\"axis\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\"/>\n");
        svg += &text(LEFT - 8.0, y + 4.0, "end", &seconds(10f64.powi(power)));
    }
    for (number, ((is_peer, name), points)) in series.iter().enumerate() {
        let (colour, dashes) = (COLOURS[number % COLOURS.len()], if *is_peer { "4 4" } else { "none" });
        let points: Vec<String> = points
            .iter()
            .map(|(&x, &y)| format!("{:.1},{:.1}", place(x as f64, xs, LEFT, RIGHT), place(y, ys, BOTTOM, TOP)))
            .collect();
        let line = format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"");
        svg += &format!("<polyline points=\"{}\" {line}/>\n", points.join(" "));
        let y = TOP + 10.0 + 20.0 * number as f64;
        svg += &format!("<line x1=\"{}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" {line}/>\n", RIGHT + 20.0, RIGHT + 48.0);
        svg += &text(RIGHT + 56.0, y + 4.0, "start", name);
    }
    svg
}

/// The bars below each other from this height on, and where the picture ends.
fn bars(comparisons: &[&Comparison], start: f64) -> (String, f64) {
    let ratios = comparisons.iter().filter_map(|comparison| comparison.ratio());
    let (low, high) = ratios.fold((1.0, 1.0), |(low, high): (f64, f64), ratio| (low.min(ratio), high.max(ratio)));
    let scale = decades(low, high);
    let end = start + 60.0 + BAR * comparisons.len() as f64;
    let mut svg = format!(
        "<text class=\"title\" x=\"{LEFT}\" y=\"{}\">How many times as fast as its peers</text>\n",
        start + 8.0
    );
    for power in scale.0..=scale.1 {
        let (x, class) =
            (place(10f64.powi(power), scale, BARS_LEFT, BARS_RIGHT), if power == 0 { "one" } else { "axis" });
        let (top, bottom) = (start + 20.0, end - 30.0);
        svg += &format!("<line class=\"{class}\" x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>\n");
        svg += &text(x, end - 14.0, "middle", &format!("{}×", 10f64.powi(power)));
    }
    let one = place(1.0, scale, BARS_LEFT, BARS_RIGHT);
    for (number, comparison) in comparisons.iter().enumerate() {
        let (Some(ratio), Some(peer)) = (comparison.ratio(), &comparison.peer) else { continue };
        let (x, y) = (place(ratio, scale, BARS_LEFT, BARS_RIGHT), start + 26.0 + BAR * number as f64);
        let (colour, size) = (if ratio < 1.0 { COLOURS[1] } else { COLOURS[0] }, BAR - 6.0);
        let (from, width) = (x.min(one), (x - one).abs());
        svg += &format!(
            "<rect x=\"{from:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{size}\" fill=\"{colour}\" rx=\"2\"/>\n"
        );
        let network = comparison.network.map_or_else(String::new, |network| format!(", {network}"));
        let label = format!("{} ({}{network}) / {}", comparison.work, comparison.size, peer.name);
        svg += &text(BARS_LEFT - 10.0, y + 12.0, "end", &label);
        svg += &text(x.max(one) + 6.0, y + 12.0, "start", &format!("{ratio:.2}×"));
    }
    (svg, end)
}

fn text(x: f64, y: f64, anchor: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('`', "");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n")
}
