//! The text of a dump: SQL that `wrangler d1 execute --file` takes.

use crate::schema::{Schema, Table};

/// The longest statement that is written where there is a choice. D1 takes 100 KB.
const STATEMENT_BYTES: usize = 90_000;

/// What stands before the rows.
pub fn header(schema: &Schema, backup_id: &str, bookmark: &str) -> String {
    let version = schema.version.as_deref().unwrap_or("none");
    let mut text = format!(
        "-- RS-1 Cloud, backup {backup_id}, format 1; schema {version}; bookmark {bookmark}\nPRAGMA defer_foreign_keys = TRUE;\n"
    );
    for table in &schema.tables {
        text.push_str(&table.sql);
        text.push_str(";\n");
    }
    text
}

/// What stands after them.
pub fn footer(schema: &Schema) -> String {
    let mut text = String::new();
    for sql in &schema.rest {
        text.push_str(sql);
        text.push_str(";\n");
    }
    text.push_str("-- end\n");
    text
}

/// The statements that insert `rows`, each a list of literals in parentheses. A row that is longer than a statement should be gets
/// one of its own.
pub fn inserts(table: &Table, rows: &[String]) -> String {
    let columns = table.columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let begin = format!("INSERT INTO {} ({columns}) VALUES\n", quoted(&table.name));
    let mut text = String::new();
    let mut length = 0_usize;
    for row in rows {
        if length > 0 && length.saturating_add(row.len()) > STATEMENT_BYTES {
            text.push_str(";\n");
            length = 0;
        }
        text.push_str(if length == 0 { &begin } else { ",\n" });
        length = length.saturating_add(row.len()).saturating_add(2);
        text.push_str(row);
    }
    if length > 0 {
        text.push_str(";\n");
    }
    text
}

/// A name as SQL quotes it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The query for the rows of a table after a key, as literals: columns `key` (a JSON array) and `line`. Its parameters are the
/// key's values, if there is one, and the number of rows.
pub fn page_query(table: &Table, after_key: bool) -> String {
    // Qualified, because in ORDER BY a bare name would be the result's column before it is the table's.
    let column = |name: &String| format!("t.{}", quoted(name));
    // D1 lets a function have 32 arguments and an expression be 100 deep.
    let groups = table
        .columns
        .chunks(30)
        .map(|columns| {
            let literals = columns.iter().map(|name| format!("quote({})", column(name)));
            format!("concat_ws(',', {})", literals.collect::<Vec<_>>().join(", "))
        })
        .collect::<Vec<_>>();
    let line =
        if groups.len() == 1 { groups.concat() } else { format!("concat_ws(',', {})", groups.join(", ")) };
    let key = table.key.iter().map(column).collect::<Vec<_>>().join(", ");
    let values = (1..=table.key.len()).map(|index| format!("?{index}")).collect::<Vec<_>>().join(", ");
    let (filter, limit) = if after_key {
        (format!(" WHERE ({key}) > ({values})"), table.key.len().saturating_add(1))
    } else {
        (String::new(), 1)
    };
    format!(
        "/* backup_page */ SELECT json_array({key}) AS key, '(' || {line} || ')' AS line FROM {} AS t{filter} ORDER BY {key} LIMIT ?{limit}",
        quoted(&table.name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: usize) -> Table {
        Table {
            name: "t".into(),
            sql: "CREATE TABLE t (a, b)".into(),
            columns: (0..columns).map(|index| format!("c{index}")).collect(),
            key: vec!["c0".into(), "c1".into()],
            refers_to: vec![],
        }
    }

    #[test]
    fn rows_are_grouped_into_statements_that_d1_takes() {
        let rows: Vec<String> = (0..1000).map(|index| format!("({index},'{}')", "x".repeat(500))).collect();
        let text = inserts(&table(2), &rows);
        let statements: Vec<&str> = text.split_inclusive(";\n").collect();
        assert!(statements.len() > 5, "{}", statements.len());
        for statement in &statements {
            assert!(
                statement.starts_with("INSERT INTO \"t\" (\"c0\", \"c1\") VALUES\n(")
                    && statement.len() < 100_000
            );
        }
        assert_eq!(text.matches("'xxx").count(), 1000);
    }

    #[test]
    fn a_row_that_is_too_long_is_alone_and_nothing_is_lost() {
        let rows = ["(1)".to_owned(), format!("('{}')", "x".repeat(200_000)), "(2)".to_owned()];
        let text = inserts(&table(1), &rows);
        assert_eq!(text.matches("INSERT").count(), 3);
        assert!(rows.iter().all(|row| text.contains(row.as_str())));
        assert_eq!(inserts(&table(1), &[]), "");
    }

    #[test]
    fn a_page_is_asked_for_within_the_limits_of_d1() {
        assert_eq!(
            page_query(&table(2), true),
            "/* backup_page */ SELECT json_array(t.\"c0\", t.\"c1\") AS key, \
             '(' || concat_ws(',', quote(t.\"c0\"), quote(t.\"c1\")) || ')' AS line \
             FROM \"t\" AS t WHERE (t.\"c0\", t.\"c1\") > (?1, ?2) ORDER BY t.\"c0\", t.\"c1\" LIMIT ?3"
        );
        assert!(
            page_query(&table(2), false).ends_with("FROM \"t\" AS t ORDER BY t.\"c0\", t.\"c1\" LIMIT ?1")
        );
        let wide = page_query(&table(65), false);
        assert_eq!(wide.matches("concat_ws").count(), 4);
    }
}
