//! Policies as transition tables, for combinations of rights that rules cannot express.

use std::collections::BTreeMap;

use palisade_vfs::Rights;

use crate::automaton::table::{Detail, Table};
use crate::{Policy, Refusal, State};

/// A state: its rights and its transitions.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) rights: Rights,
    pub(crate) refusal: Refusal,
    /// The transitions of names other than [`Row::others`].
    pub(crate) names: BTreeMap<Box<str>, State>,
    /// The transition of all other names.
    pub(crate) others: State,
}

impl Policy {
    /// From a table; the first row is the start.
    pub(crate) fn from_table(rows: Vec<Row>) -> Self {
        let mut table = Table::default();
        for (state, row) in (0..).zip(rows) {
            let rofs = match row.refusal {
                Refusal::Denied => Rights::empty(),
                Refusal::ReadOnly => Rights::all() - Rights::READ_ONLY - row.rights,
            };
            let start = u32::try_from(table.edges.len()).unwrap();
            for (name, to) in row.names {
                let text = table.push_text(&name);
                table.push_edge(text, to.0);
            }
            let edges = start..u32::try_from(table.edges.len()).unwrap();
            let others = row.others.0;
            let nothing = crate::automaton::table::Row::NOTHING;
            let rights = row.rights;
            table.rows.push(crate::automaton::table::Row {
                rights,
                rofs,
                edges,
                others,
                owner: state,
                ..nothing
            });
            table.details.push(Detail { matched: 0..0, kind: state });
        }
        table.make_index();
        Policy::of_table(table)
    }
}

impl State {
    pub(crate) fn of_row(row: u32) -> Self {
        State(row)
    }
}
