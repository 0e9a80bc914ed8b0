//! The comparison as Markdown. PURE.
use std::fmt::Write as _;

use crate::compare::figure::Spread;
use crate::compare::outcome::Row;

const THROUGHPUT: &str = "\
| workload | system | MB/s | records/s | ratio to Kafka | of the limit | CPU s/GB | CPU s/10⁶ records | RSS MiB |
|---|---|---|---|---|---|---|---|---|
";
const LATENCY: &str = "\
| workload | system | p50 ms | p99 ms | p99.9 ms | p50, ratio to Kafka | a sync ÷ p50 | CPU s/10⁶ records | RSS MiB |
|---|---|---|---|---|---|---|---|---|
";

/// Two tables: how much goes through, and how long it takes at a fixed rate. Neither where it would
/// be empty.
pub(crate) fn tables(rows: &[Row]) -> String {
    let mut out = String::new();
    for (head, is_latency) in [(THROUGHPUT, false), (LATENCY, true)] {
        let mut lines = rows.iter().filter(|row| row.is_latency == is_latency).peekable();
        if lines.peek().is_some() {
            out.push_str(head);
            lines.for_each(|row| line(&mut out, row));
            out.push('\n');
        }
    }
    out
}

fn line(out: &mut String, row: &Row) {
    let main = if row.is_latency {
        [(row.p50_ms, 2), (row.p99_ms, 2), (row.p99_9_ms, 2)]
    } else {
        [(row.mb_per_second, 0), (row.records_per_second, 0), (None, 0)]
    };
    let mut cells = vec![format!("`{}`", row.workload), row.system.name().to_owned()];
    if let Some(error) = &row.error
        && row.mb_per_second.is_none()
    {
        cells.push(format!("failed: {}", error.replace(['|', '\n'], " ")));
        cells.resize(9, String::new());
    } else {
        let columns = if row.is_latency { 3 } else { 2 };
        cells.extend(main[..columns].iter().map(|(spread, digits)| shown(*spread, *digits)));
        cells.push(shown(row.ratio_to_kafka, 2));
        cells.push(row.of_the_limit.map_or_else(String::new, |share| format!("{share:.2}")));
        if !row.is_latency {
            cells.push(shown(row.cpu_seconds_per_gb, 2));
        }
        cells.push(shown(row.cpu_seconds_per_million_records, 2));
        cells.push(shown(row.rss_peak_mib, 0));
    }
    writeln!(out, "| {} |", cells.join(" | ")).expect("a string takes all");
}

/// `1,234 (1,000–1,500)`, and whether its rounds lie far apart; nothing of nothing.
fn shown(spread: Option<Spread>, digits: usize) -> String {
    let Some(spread) = spread else { return String::new() };
    let [median, least, most] =
        [spread.median, spread.least, spread.most].map(|value| number(value, digits));
    let noise = if spread.is_noisy() { ", noisy" } else { "" };
    format!("{median} ({least}–{most}{noise})")
}

/// With a comma between thousands.
pub(crate) fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::system::System;

    fn row() -> Row {
        let spread = |median| Some(Spread { median, least: median - 1.0, most: median + 1.0 });
        Row {
            workload: "w".to_owned(),
            system: System::Kafka,
            mb_per_second: spread(1234.0),
            records_per_second: spread(1_234_000.0),
            ratio_to_kafka: spread(2.0),
            of_the_limit: Some(0.254),
            ..Row::default()
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(number(999.6, 0), "1,000");
        assert_eq!(number(1_234_567.891, 2), "1,234,567.89");
        assert_eq!(number(0.5, 2), "0.50");
    }

    #[test]
    fn a_row_shows_medians_spreads_and_noise_and_leaves_out_what_is_not_known() {
        let expected = "| `w` | kafka | 1,234 (1,233–1,235) | 1,234,000 (1,233,999–1,234,001) \
             | 2.00 (1.00–3.00, noisy) | 0.25 |  |  |  |\n\n";
        assert_eq!(tables(&[row()]), format!("{THROUGHPUT}{expected}"));
    }

    #[test]
    fn a_system_that_failed_says_why_in_as_many_cells() {
        let error = Some("a | b".to_owned());
        let failed = Row { mb_per_second: None, error, is_latency: true, ..row() };
        let table = tables(&[failed]);
        let last = table.trim_end().lines().last().expect("a line");
        assert_eq!(last, "| `w` | kafka | failed: a   b |  |  |  |  |  |  |");
    }
}
