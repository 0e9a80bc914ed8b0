//! `history-check FOLDER`: checks the histories that client processes wrote into a folder.
//! It ends with 0 if no rule is broken, 1 if one is, 2 if the folder is no history.
#![allow(unreachable_pub, reason = "a program exports nothing")]

mod history;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("history-check FOLDER");
        return ExitCode::from(2);
    };
    let events = match history::read_folder(Path::new(&folder)) {
        Ok(events) => events,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let (verdict, report) = history::check(&events);
    println!("{} events; {report}", events.list.len());
    if events.list.is_empty() {
        eprintln!("{folder} holds no events");
        return ExitCode::from(2);
    }
    let rules = verdict.rules();
    print!("{verdict}");
    println!("{} rules broken {rules:?}", rules.len());
    ExitCode::from(u8::from(!rules.is_empty()))
}
