//! JSON in few bytes: objects of one sort look much alike.

use std::sync::OnceLock;

use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};

/// Longest part of an object that serves as a pattern.
const PATTERN: usize = 16 * 1024;

/// The first object of a sort that was seen. Others are compressed against it, which makes them several times smaller
/// than each on its own.
#[derive(Default)]
pub struct Pattern(OnceLock<Box<[u8]>>);

impl Pattern {
    /// Of which none was seen yet.
    pub const fn new() -> Pattern {
        Pattern(OnceLock::new())
    }

    /// An object in few bytes; the first one becomes the pattern.
    pub fn pack(&self, json: &[u8]) -> Box<[u8]> {
        let pattern = self.0.get_or_init(|| json[..json.len().min(PATTERN)].into());
        compress_prepend_size_with_dict(json, pattern).into_boxed_slice()
    }

    /// What was packed; nothing where it was not by this one.
    pub fn unpack(&self, packed: &[u8]) -> Vec<u8> {
        let pattern = self.0.get().map_or(&[][..], |pattern| pattern);
        decompress_size_prepended_with_dict(packed, pattern).unwrap_or_default()
    }
}
