//! Backups of the database, as far as they can be told without a database: what a dump looks like, how far
//! one has come, what proves it whole, and which ones may go.
//!
//! A dump is SQL text in gzip, made of parts of one size so that R2 takes it in parts, and each part is a
//! sequence of whole gzip members. So a run that is cut off is continued at the last part, and the
//! [`Progress`](plan::Progress) that it takes to do so is a value of a few kilobytes.
//!
//! # Why a dump that takes minutes can be restored
//!
//! Tables are read one after the other, in pages by key, while others write. Three things make the result one that
//! can be loaded:
//!
//! - **Tables that refer to others are read before those** ([`schema::read_order`]). A row's parent was there when the row
//!   was read. It is still there when its own table is read, because no statement of `rs1-store` deletes from a
//!   table that another one refers to (a test of that crate holds every statement against this). The text begins with
//!   `PRAGMA defer_foreign_keys`, as D1's own exports do, so children may come first.
//! - **A key never changes**, so a row that lives through the whole dump is in it exactly once, as it was at one
//!   instant. A row that is written meanwhile may be in it or not.
//! - **Triggers and indexes come last**, so loading a row is only that.
//!
//! What it does not give is one instant for all tables: a counter may be ahead of the rows that it counts by what was
//! written during the dump. For one instant there is Time Travel; the manifest has the bookmarks of the
//! dump's beginning and end.
//!
//! This crate never reads a clock or a random number and knows nothing of D1 or R2. Start with [`plan`].

#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::string_slice,
        reason = "a test that overflows or slices wrongly fails, which is what it should do"
    )
)]

pub mod check;
pub mod collect;
pub mod dump;
pub mod hash;
pub mod incident;
mod middle;
pub mod notice;
pub mod part;
pub mod plan;
pub mod retention;
pub mod rotation;
pub mod schema;
pub mod watch;
