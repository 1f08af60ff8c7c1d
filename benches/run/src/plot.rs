//! Lines in a plane of two logarithmic axes, as SVG that is legible on light and dark grounds.

use std::fmt::Write;

use crate::page::number;

const WIDTH: f64 = 780.0;
const HEIGHT: f64 = 400.0;
/// Room around the plane: left, right, top, bottom.
const MARGINS: [f64; 4] = [70.0, 280.0, 40.0, 50.0];
/// Of middle lightness, told apart with any kind of sight (Okabe and Ito).
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999933", "#808080",
];

pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    pub(crate) series: Vec<Series>,
}

pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Plot<'_> {
    pub(crate) fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Axis::of(
            points().map(|point| point.0),
            MARGINS[0],
            WIDTH - MARGINS[1],
        );
        let y = Axis::of(
            points().map(|point| point.1),
            HEIGHT - MARGINS[3],
            MARGINS[2],
        );
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"13\" fill=\"#808080\">\n"
        );
        let mut text = |x: f64, y: f64, anchor: &str, text: &str| {
            // Writing into a string cannot fail; so below.
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
            );
        };
        text(MARGINS[0], 20.0, "start", self.title);
        let (bottom, right) = (HEIGHT - MARGINS[3], WIDTH - MARGINS[1]);
        text((MARGINS[0] + right) / 2.0, HEIGHT - 10.0, "middle", self.x);
        text(MARGINS[0] - 8.0, MARGINS[2] - 8.0, "end", self.y);
        for value in x.ticks() {
            text(x.place(value), bottom + 18.0, "middle", &label(value));
        }
        for value in y.ticks() {
            text(MARGINS[0] - 8.0, y.place(value) + 4.0, "end", &label(value));
        }
        let _ = writeln!(out, "<g stroke=\"#808080\" stroke-opacity=\"0.35\">");
        for value in x.ticks() {
            let at = x.place(value);
            let top = MARGINS[2];
            let _ = writeln!(out, "<path d=\"M{at:.1} {top}V{bottom}\"/>");
        }
        for value in y.ticks() {
            let at = y.place(value);
            let left = MARGINS[0];
            let _ = writeln!(out, "<path d=\"M{left} {at:.1}H{right}\"/>");
        }
        let _ = writeln!(out, "</g>");
        for (number, (series, colour)) in self.series.iter().zip(COLOURS.iter().cycle()).enumerate()
        {
            series.draw(&mut out, &x, &y, colour);
            let at = MARGINS[2] + 10.0 + 22.0 * number as f64;
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"{colour}\"/>\n\
                 <text x=\"{:.1}\" y=\"{at:.1}\">{}</text>",
                right + 18.0,
                at - 4.0,
                right + 30.0,
                series.name
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

impl Series {
    fn draw(&self, out: &mut String, x: &Axis, y: &Axis, colour: &str) {
        let places: Vec<String> = self
            .points
            .iter()
            .map(|&(at, value)| format!("{:.1},{:.1}", x.place(at), y.place(value)))
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            places.join(" ")
        );
        for place in places {
            let (at, value) = place.split_once(',').unwrap_or_default();
            let _ = writeln!(
                out,
                "<circle cx=\"{at}\" cy=\"{value}\" r=\"4\" fill=\"{colour}\"/>"
            );
        }
    }
}

/// Whole powers of ten, from below the least value to above the greatest.
struct Axis {
    from: f64,
    to: f64,
    begin: f64,
    end: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>, begin: f64, end: f64) -> Self {
        let logs = values.filter(|value| *value > 0.0).map(f64::log10);
        let (from, to) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), log| {
            (from.min(log), to.max(log))
        });
        if from > to {
            return Self {
                from: 0.0,
                to: 1.0,
                begin,
                end,
            };
        }
        let from = from.floor();
        Self {
            from,
            to: to.ceil().max(from + 1.0),
            begin,
            end,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value.max(f64::MIN_POSITIVE).log10() - self.from) / (self.to - self.from);
        self.begin + (self.end - self.begin) * part.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        (self.from as i32..=self.to as i32).map(|power| 10_f64.powi(power))
    }
}

fn label(value: f64) -> String {
    match value {
        0.0..1.0 => value.to_string(),
        _ => number(value.round())
            .trim_end_matches(".00")
            .trim_end_matches(".0")
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_hold_every_value() {
        let axis = Axis::of([0.7, 31.0].into_iter(), 0.0, 300.0);
        assert_eq!((axis.from, axis.to), (-1.0, 2.0));
        assert_eq!(axis.place(1.0), 100.0);
        assert_eq!(
            axis.ticks().map(label).collect::<Vec<_>>(),
            ["0.1", "1", "10", "100"]
        );
    }

    #[test]
    fn a_plot_names_its_series() {
        let plot = Plot {
            title: "t",
            x: "x",
            y: "y",
            series: vec![Series {
                name: "ours".into(),
                points: vec![(1.0, 2.0), (1000.0, 3.0)],
            }],
        };
        let svg = plot.svg();
        assert!(svg.contains(">ours<") && svg.contains("<polyline"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
