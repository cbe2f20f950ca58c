//! Kubernetes quantities: read, compared, and written as the API server writes them.
//!
//! Builders write canonical quantities, or the API server's own spelling would look like a change.

use std::cmp::Ordering;

/// A number with a suffix, such as `500m`, `1.5Gi` or `2e3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// In thousandths of a millionth: the API server rounds up to nano.
    nano: i128,
    binary: bool,
}

const NANO: i128 = 1_000_000_000;
const BINARY: [(&str, u32); 6] = [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
const DECIMAL: [(&str, i32); 10] =
    [("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3), ("", 0), ("m", -3), ("u", -6), ("n", -9)];

impl Quantity {
    /// Read a quantity; the error says what was wrong with it.
    pub fn parse(text: &str) -> Result<Quantity, String> {
        let wrong =
            || format!("\"{text}\" is not a quantity: write a number with a suffix, such as 500m, 2 or 1Gi");
        let split = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let negative = whole.starts_with('-');
        let whole = whole.strip_prefix(['+', '-']).unwrap_or(whole);
        if (whole.is_empty() && fraction.is_empty())
            || whole.len() > 15
            || fraction.len() > 9
            || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
        {
            return Err(wrong());
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| wrong())? };
        let nano: i128 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
        let nano = (whole * NANO + nano) * if negative { -1 } else { 1 };
        if let Some((_, bits)) = BINARY.iter().find(|(name, _)| *name == suffix) {
            return nano
                .checked_mul(1i128 << bits)
                .map(|nano| Quantity { nano, binary: true })
                .ok_or_else(wrong);
        }
        let exponent = match DECIMAL.iter().find(|(name, _)| *name == suffix) {
            Some((_, exponent)) => *exponent,
            None => suffix
                .strip_prefix(['e', 'E'])
                .and_then(|digits| digits.parse::<i32>().ok())
                .filter(|exponent| (-9..=18).contains(exponent))
                .ok_or_else(wrong)?,
        };
        let scale = 10i128.pow(exponent.unsigned_abs());
        let nano = if exponent >= 0 {
            nano.checked_mul(scale).ok_or_else(wrong)?
        } else {
            // Round away from zero, as the API server does.
            (nano.abs() + scale - 1) / scale * nano.signum()
        };
        Ok(Quantity { nano, binary: false })
    }

    /// So many times as much; as much as there can be, where that is too much.
    pub fn times(self, count: i64) -> Quantity {
        Quantity { nano: self.nano.saturating_mul(count.into()), ..self }
    }

    /// Both together.
    pub fn plus(self, other: Quantity) -> Quantity {
        let nano = self.nano.saturating_add(other.nano);
        Quantity { nano, binary: self.binary || other.binary }
    }

    /// The whole units of it: bytes, of memory.
    pub fn whole(&self) -> Option<u64> {
        u64::try_from(self.nano / NANO).ok()
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.nano.partial_cmp(&other.nano)
    }
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        // Below a whole 1024 a binary quantity is written like a decimal one.
        if self.binary && self.nano % NANO == 0 && (self.nano / NANO).abs() >= 1024 {
            let units = self.nano / NANO;
            return match BINARY.iter().find(|(_, bits)| units % (1i128 << bits) == 0) {
                Some((name, bits)) => write!(f, "{}{name}", units >> bits),
                None => write!(f, "{units}"),
            };
        }
        for (name, exponent) in DECIMAL {
            let unit = 10i128.pow((exponent + 9).unsigned_abs());
            if self.nano % unit == 0 {
                return write!(f, "{}{name}", self.nano / unit);
            }
        }
        Ok(())
    }
}

/// The API server's spelling of a quantity, or the text as it is where it cannot be read.
pub fn canonical(text: &str) -> String {
    Quantity::parse(text).map_or_else(|_| text.to_string(), |quantity| quantity.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_the_api_server_writes_them() {
        // Each right-hand side was read back from an API server 1.36.
        for (written, stored) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("100m", "100m"),
            ("2000m", "2"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("128Mi", "128Mi"),
            ("1000Mi", "1000Mi"),
            ("128974848", "128974848"),
            ("1500M", "1500M"),
            ("2000M", "2G"),
            ("0", "0"),
            ("+5", "5"),
            (".5", "500m"),
        ] {
            assert_eq!(canonical(written), stored, "{written}");
        }
    }

    #[test]
    fn quantities_compare_across_suffixes() {
        let read = |text| Quantity::parse(text).unwrap();
        assert!(read("500m") < read("1"));
        assert!(read("1Gi") > read("1G"));
        assert!(read("2e3").partial_cmp(&read("2k")) == Some(Ordering::Equal));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "m", "1x", "1.2.3", "--1", "1 Gi", "9999999999999999", "1e99", "٣"] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
    }
}
