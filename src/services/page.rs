//! Lists: pages (D51, D52), sort and filter (D55), and cursors that stay quick however long the list is.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::failure::Failure;
use super::parameters::{Query, refuse};

/// Entries of a page that says nothing, or something impossible (D51).
const LIMIT: i64 = 10;
/// Entries of a page at most.
const MOST: i64 = 100;

/// Which way a list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// Where a list begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// At a page, counted from 1.
    Page(i64),
    /// After an entry; none: at the first.
    After(Option<Cursor>),
}

/// What of a list is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted<F> {
    /// Where it begins.
    pub start: Start,
    /// How many entries, from 1 to 100.
    pub limit: i64,
    /// What it is sorted by.
    pub sort: F,
    /// Which way.
    pub direction: Direction,
}

/// The last entry that was seen: when it was made, and its id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cursor {
    /// Microseconds since 1970.
    pub created: i64,
    /// Of two entries of one moment, which.
    pub id: Uuid,
}

impl<F: Copy + PartialEq> Wanted<F> {
    /// Reads `page`, `limit` (or `size`), `sort` and `cursor`. `fields` can be sorted by, the first of them newest
    /// first where nothing is said; it is the one that cursors follow.
    pub fn read(query: &Query, fields: &[(&'static str, F)]) -> Result<Wanted<F>, Failure> {
        let Some(&(_, first)) = fields.first() else { return Err(refuse("sort", "cannot be given")) };
        // Both are read, so that a wrong one is told beside a right one.
        let (limit, size) = (query.number("limit")?, query.number("size")?);
        let limit = limit.or(size);
        // D51: what is out of bounds is as if it had not been said.
        let limit = limit.filter(|limit| (1..=MOST).contains(limit)).unwrap_or(LIMIT);
        let (sort, direction) = match query.get("sort") {
            None => (first, Direction::Descending),
            Some(text) => sorted(text, fields)?,
        };
        let page = query.number("page")?;
        let start = match query.get("cursor") {
            None => Start::Page(page.unwrap_or(1).max(1)),
            Some(_) if sort != first => {
                return Err(refuse("cursor", "can be followed in a list by its default field only"));
            }
            Some("") => Start::After(None),
            Some(text) => {
                let cursor = Cursor::read(text).ok_or_else(|| refuse("cursor", "is none that was given"))?;
                Start::After(Some(cursor))
            }
        };
        Ok(Wanted { start, limit, sort, direction })
    }
}

fn sorted<F: Copy>(text: &str, fields: &[(&'static str, F)]) -> Result<(F, Direction), Failure> {
    let (name, direction) = text.split_once(':').unwrap_or((text, "asc"));
    let field = fields.iter().find(|(known, _)| *known == name).map(|(_, field)| *field);
    let direction = match direction {
        "asc" => Some(Direction::Ascending),
        "desc" => Some(Direction::Descending),
        _ => None,
    };
    field.zip(direction).ok_or_else(|| {
        let known: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        refuse("sort", &format!("must be one of {}, with :asc or :desc", known.join(", ")))
    })
}

impl Cursor {
    /// The text that a client sends back as it is.
    pub fn text(&self) -> String {
        let mut bytes = self.created.to_be_bytes().to_vec();
        bytes.extend(self.id.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn read(text: &str) -> Option<Cursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (created, id) = bytes.split_first_chunk::<8>()?;
        let created = i64::from_be_bytes(*created);
        // What no clock of PostgreSQL shows was never given.
        (0..=253_402_300_800_000_000).contains(&created).then_some(())?;
        Some(Cursor { created, id: Uuid::from_slice(id).ok()? })
    }
}

/// A page of a list (D52).
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Page<T> {
    /// Its entries.
    pub items: Vec<T>,
    /// Entries of all pages.
    pub total: i64,
    /// Which page it is, from 1.
    pub page: i64,
    /// Entries that a page has at most.
    pub size: i64,
    /// How many pages there are.
    pub pages: i64,
}

impl<T> Page<T> {
    /// The page at which `wanted` begins.
    pub fn new(items: Vec<T>, total: i64, page: i64, size: i64) -> Page<T> {
        let pages = total / size + i64::from(total % size != 0);
        Page { items, total, page, size, pages }
    }

    /// How many entries are before it.
    pub fn skipped(page: i64, size: i64) -> i64 {
        page.saturating_sub(1).saturating_mul(size)
    }
}

/// A part of a list that follows a cursor.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Slice<T> {
    /// Its entries.
    pub items: Vec<T>,
    /// Entries that it has at most.
    pub size: i64,
    /// What to send as `cursor` for the next part; left out at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Wanted<u8>, Failure> {
        Wanted::read(&Query::read(query).unwrap(), &[("createdAt", 0), ("email", 1)])
    }

    #[test]
    fn pages_are_as_the_contract_has_them() {
        for (query, page, limit) in [
            ("", 1, 10),
            ("page=3&limit=20", 3, 20),
            ("page=0&limit=0", 1, 10),
            ("page=-5&limit=101", 1, 10),
            ("limit=100", 1, 100),
            ("size=7", 1, 7),
            ("limit=8&size=7", 1, 8),
            ("page=99999999999999999999", i64::MAX, 10),
        ] {
            let wanted = read(query).unwrap();
            assert_eq!((wanted.start, wanted.limit), (Start::Page(page), limit), "{query}");
        }
        for wrong in ["page=one", "limit=1.5", "limit=8&size=null"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_is_sorted_by_what_it_has() {
        assert_eq!(
            read("").map(|wanted| (wanted.sort, wanted.direction)).unwrap(),
            (0, Direction::Descending)
        );
        for (sort, field, direction) in [
            ("email", 1, Direction::Ascending),
            ("email:desc", 1, Direction::Descending),
            ("createdAt:asc", 0, Direction::Ascending),
        ] {
            let wanted = read(&format!("sort={sort}")).unwrap();
            assert_eq!((wanted.sort, wanted.direction), (field, direction));
        }
        for wrong in ["password", "email:up", "email;drop", ""] {
            assert!(read(&format!("sort={wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cursor_comes_back_as_it_was_given() {
        let cursor = Cursor { created: 1_769_860_800_123_456, id: Uuid::from_u128(7) };
        let start = read(&format!("cursor={}", cursor.text())).unwrap().start;
        assert_eq!(start, Start::After(Some(cursor)));
        assert_eq!(read("cursor=").unwrap().start, Start::After(None));
        let far = Cursor { created: i64::MAX, id: Uuid::nil() };
        for wrong in ["x", "AAAA", "!!", &far.text()] {
            assert!(read(&format!("cursor={wrong}")).is_err(), "{wrong}");
        }
        let with_page = read(&format!("cursor={}&page=9", cursor.text())).unwrap();
        assert_eq!(with_page.start, Start::After(Some(cursor)), "a page is not looked at");
        assert!(read(&format!("cursor={}&sort=email", cursor.text())).is_err());
    }

    #[test]
    fn the_last_page_may_be_short() {
        for (total, size, pages) in [(0, 10, 0), (1, 10, 1), (10, 10, 1), (11, 10, 2)] {
            assert_eq!(Page::<u8>::new(Vec::new(), total, 1, size).pages, pages);
        }
        assert_eq!(Page::<u8>::skipped(i64::MAX, 100), i64::MAX);
        assert_eq!(Page::<u8>::skipped(3, 20), 40);
    }
}
