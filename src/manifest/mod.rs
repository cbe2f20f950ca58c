//! What do the files of a team say, and would it be taken? Pure: text in, documents with the line of each field out,
//! and every refusal of the schema, of its CEL rules and of the operator's own check.

mod document;
mod gather;
mod sarif;
mod schema;
mod verdict;

pub use document::{Document, Unreadable, read};
pub use gather::{File, Gathered, Placed, gather};
pub use sarif::sarif;
pub use verdict::{Finding, examine, examine_environment};
