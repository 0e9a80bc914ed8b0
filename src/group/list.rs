//! `weir group list`.

use clap::Args;

use crate::failure::Failure;
use crate::group::connect;
use crate::print;
use crate::table::{Bootstrap, Output};

#[derive(Args, Clone, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// Only groups in this state (Stable, Empty, ...); may be repeated.
    #[arg(long = "state")]
    states: Vec<String>,
    /// Only groups of this type (classic, consumer, share); may be repeated.
    #[arg(long = "type")]
    types: Vec<String>,
    /// How to print them.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(super) async fn run(list: &List) -> Result<(), Failure> {
    let listed = connect(&list.bootstrap).list(&list.states, &list.types).await?;
    if list.output == Output::Json {
        return print::json(&listed);
    }
    let mut table = print::table(&["group", "type", "protocol", "state"]);
    for group in listed {
        table.add_row([group.group, group.group_type, group.protocol, group.state]);
    }
    print::lines(&[table.to_string()])
}
