//! What is printed at the end: one JSON object for scripts, or the same as a table.
use std::io::IsTerminal;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::Output;

/// What a run was and what it found.
pub(crate) struct Report(Value);

impl Report {
    /// `settings` says how it was run, `result` what came out.
    pub(crate) fn new(mode: &str, settings: Value, result: &impl Serialize) -> Report {
        let result = serde_json::to_value(result).expect("a report is plain data");
        Report(json!({ "mode": mode, "settings": settings, "result": result }))
    }

    pub(crate) fn rendered(&self, output: Output) -> String {
        match output {
            Output::Json => format!("{:#}", self.0),
            Output::Table => {
                let mut table = Table::new();
                table.load_preset(presets::UTF8_FULL_CONDENSED);
                for part in ["settings", "result"] {
                    if let Some(Value::Object(values)) = self.0.get(part) {
                        add_rows(&mut table, "", values);
                    }
                }
                if let Some(column) = table.column_mut(1) {
                    column.set_cell_alignment(CellAlignment::Right);
                }
                table.to_string()
            }
        }
    }
}

fn add_rows(table: &mut Table, prefix: &str, values: &Map<String, Value>) {
    for (name, value) in values {
        let name = format!("{prefix}{}", name.replace('_', " "));
        match value {
            Value::Object(inner) => add_rows(table, &format!("{name} "), inner),
            Value::Null => {}
            Value::String(text) => drop(table.add_row([name.as_str(), text.as_str()])),
            other => drop(table.add_row([name, other.to_string()])),
        }
    }
}

/// A line on the terminal that says how far the run is; nothing where nobody looks.
pub(crate) fn progress() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if std::io::stderr().is_terminal() {
        bar.enable_steady_tick(Duration::from_millis(200));
    } else {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}
