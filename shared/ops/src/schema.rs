//! What a database consists of, in the order in which a dump reads it.

use serde::{Deserialize, Serialize};

/// A table, as the database describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The statement that makes it.
    pub sql: String,
    /// Its columns in order.
    pub columns: Vec<String>,
    /// The columns of its primary key, in the key's order.
    pub key: Vec<String>,
    /// The tables that its foreign keys refer to.
    pub refers_to: Vec<String>,
}

/// A database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    /// The tables.
    pub tables: Vec<Table>,
    /// The statements that make its indexes, views and triggers.
    pub rest: Vec<String>,
    /// The last migration that was applied; `None` where nobody noted any.
    pub version: Option<String>,
}

/// Puts tables that refer to others before those; see the crate's page for why. Tables that refer to each other in a
/// circle, or to themselves, keep the order of their names.
pub fn read_order(mut tables: Vec<Table>) -> Vec<Table> {
    let mut ordered: Vec<Table> = Vec::with_capacity(tables.len());
    while !tables.is_empty() {
        let refers =
            |other: &Table, table: &Table| other.name != table.name && other.refers_to.contains(&table.name);
        let is_free = |table: &Table| !tables.iter().any(|other| refers(other, table));
        // The first by name to which no other table that is left refers; in a circle, the first by name.
        let next = tables
            .iter()
            .enumerate()
            .min_by(|(_, a), (_, b)| (!is_free(a), &a.name).cmp(&(!is_free(b), &b.name)));
        let place = next.map_or(0, |(place, _)| place);
        ordered.push(tables.remove(place));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, refers_to: &[&str]) -> Table {
        Table {
            name: name.into(),
            sql: String::new(),
            columns: vec![],
            key: vec![],
            refers_to: refers_to.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn order(tables: Vec<Table>) -> Vec<String> {
        read_order(tables).into_iter().map(|table| table.name).collect()
    }

    #[test]
    fn what_refers_is_read_before_what_it_refers_to() {
        let tables = vec![
            table("devices", &[]),
            table("attempts", &["rollout_devices"]),
            table("rollout_devices", &["rollouts", "devices"]),
            table("rollouts", &[]),
            table("audit", &[]),
        ];
        assert_eq!(order(tables), ["attempts", "audit", "rollout_devices", "devices", "rollouts"]);
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(order(vec![table("b", &["a"]), table("a", &["b"]), table("c", &["c"])]), ["c", "a", "b"]);
    }
}
