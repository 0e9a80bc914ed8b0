//! Bars as SVG: a group for each workload, a bar for each system, a line from least to most. PURE.
use std::fmt::Write as _;

use crate::compare::figure::Spread;
use crate::compare::outcome::Row;
use crate::compare::system::System;
use crate::compare::table::number;

const WIDTH: f64 = 960.0;
const LABEL_WIDTH: f64 = 370.0;
const BAR_WIDTH_MAX: f64 = 450.0;
const BAR_HEIGHT: f64 = 16.0;
const GROUP_GAP: f64 = 14.0;
const HEAD_HEIGHT: f64 = 64.0;

/// What a chart shows.
pub(crate) struct Chart {
    pub(crate) file: &'static str,
    title: &'static str,
    digits: usize,
    is_latency: bool,
    figure: fn(&Row) -> Option<Spread>,
}

pub(crate) const CHARTS: [Chart; 4] = [
    Chart {
        file: "throughput.svg",
        title: "Throughput, MB/s (more is better)",
        digits: 0,
        is_latency: false,
        figure: |row| row.mb_per_second,
    },
    Chart {
        file: "cpu.svg",
        title: "CPU seconds of the server per GB (less is better)",
        digits: 2,
        is_latency: false,
        figure: |row| row.cpu_seconds_per_gb,
    },
    Chart {
        file: "latency.svg",
        title: "Latency at a fixed rate, p50, ms (less is better)",
        digits: 2,
        is_latency: true,
        figure: |row| row.p50_ms,
    },
    Chart {
        file: "latency-p99.svg",
        title: "Latency at a fixed rate, p99, ms (less is better)",
        digits: 2,
        is_latency: true,
        figure: |row| row.p99_ms,
    },
];

impl Chart {
    /// `None` where there is nothing to show.
    pub(crate) fn draw(&self, rows: &[Row]) -> Option<String> {
        let bars: Vec<(&Row, Spread)> = rows
            .iter()
            .filter(|row| row.is_latency == self.is_latency)
            .filter_map(|row| Some((row, (self.figure)(row)?)))
            .collect();
        let most = bars.iter().map(|(_, spread)| spread.most).fold(0.0, f64::max);
        if most <= 0.0 {
            return None;
        }
        let mut body = String::new();
        let mut y = HEAD_HEIGHT;
        let mut workload = "";
        for (row, spread) in bars {
            if row.workload != workload {
                y += if workload.is_empty() { 0.0 } else { GROUP_GAP };
                workload = &row.workload;
                text(&mut body, LABEL_WIDTH - 10.0, y + 12.0, "end", workload);
            }
            self.bar(&mut body, y, most, row.system, spread);
            y += BAR_HEIGHT;
        }
        let height = y + GROUP_GAP;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
        );
        text(&mut out, 10.0, 22.0, "start", self.title);
        for (index, system) in SYSTEMS.into_iter().enumerate() {
            let x = LABEL_WIDTH + 110.0 * index as f64;
            rectangle(&mut out, x, 36.0, 12.0, 12.0, color(system));
            text(&mut out, x + 18.0, 46.0, "start", system.name());
        }
        out.push_str(&body);
        out.push_str("</svg>\n");
        Some(out)
    }

    fn bar(&self, out: &mut String, y: f64, most: f64, system: System, spread: Spread) {
        let x = |value: f64| LABEL_WIDTH + value / most * BAR_WIDTH_MAX;
        let length = x(spread.median) - LABEL_WIDTH;
        rectangle(out, LABEL_WIDTH, y + 1.0, length, BAR_HEIGHT - 2.0, color(system));
        let middle = y + BAR_HEIGHT / 2.0;
        let (from, to) = (x(spread.least), x(spread.most));
        writeln!(
            out,
            "<path d=\"M{from:.1} {middle}H{to:.1}\" stroke=\"#222\" stroke-width=\"1.5\"/>"
        )
        .expect("a string takes all");
        text(out, to + 6.0, y + 12.0, "start", &number(spread.median, self.digits));
    }
}

const SYSTEMS: [System; 4] = [System::Weir, System::WeirOs, System::Kafka, System::Tansu];

fn color(system: System) -> &'static str {
    match system {
        System::Weir => "#0b6e99",
        System::WeirOs => "#7cc4dd",
        System::Kafka => "#e08a1e",
        System::Tansu => "#8d8d8d",
    }
}

fn rectangle(out: &mut String, x: f64, y: f64, width: f64, height: f64, fill: &str) {
    writeln!(
        out,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{fill}\"/>"
    )
    .expect("a string takes all");
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, said: &str) {
    let said = said.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(out, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{said}</text>")
        .expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_its_room_and_the_others_their_share() {
        let row = |workload: &str, system, median| Row {
            workload: workload.to_owned(),
            system,
            mb_per_second: Some(Spread { median, least: median, most: median }),
            ..Row::default()
        };
        let rows = [row("a<b", System::Weir, 200.0), row("a<b", System::Kafka, 50.0)];
        let drawn = CHARTS[0].draw(&rows).expect("there is something to draw");
        assert!(drawn.contains("width=\"450.0\"") && drawn.contains("width=\"112.5\""), "{drawn}");
        assert_eq!(drawn.matches("a&lt;b").count(), 1, "a workload is named once");
        assert!(CHARTS[2].draw(&rows).is_none(), "nothing here is a latency");
    }
}
