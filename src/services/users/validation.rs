//! What a user may be called (D69), in the words of the contract; every field that is wrong, at once.

use super::types::{CreateUser, Preferences, UpdateUser};
use crate::services::failure::{Detail, Failure};

/// An address that is none (D69).
const EMAIL: &str = "invalid email format";
/// A name that is too short or too long (D69).
const USERNAME_LENGTH: &str = "username must be between 3 and 20 characters";
/// A name with other characters (D69).
const USERNAME_CHARACTERS: &str = "username can only contain letters, numbers, underscores, and hyphens";
/// A password that is too short (D69).
const PASSWORD_SHORT: &str = "password must be at least 8 characters long";
/// One of which bcrypt would leave the end out.
const PASSWORD_LONG: &str = "password must be at most 72 bytes long";
/// Bytes of a password that bcrypt looks at.
pub const PASSWORD_BYTES: usize = 72;

/// Fields, and what is wrong with them.
#[derive(Default)]
struct Check(Vec<Detail>);

impl Check {
    fn hold(&mut self, holds: bool, field: &str, message: &str) {
        // One thing at a time for each field.
        if !holds && !self.0.iter().any(|detail| detail.field == field) {
            self.0.push(Detail { field: field.to_owned(), message: message.to_owned() });
        }
    }

    fn email(&mut self, email: &str) {
        self.hold(is_email(email), "email", EMAIL);
        self.hold(email.len() <= 255, "email", "email must be at most 255 characters long");
    }

    fn username(&mut self, username: &str) {
        let length = username.chars().count();
        self.hold((3..=20).contains(&length), "username", USERNAME_LENGTH);
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
        self.hold(username.chars().all(is_plain), "username", USERNAME_CHARACTERS);
    }

    fn password(&mut self, field: &str, password: &str) {
        self.hold(password.chars().count() >= 8, field, PASSWORD_SHORT);
        self.hold(password.len() <= PASSWORD_BYTES, field, PASSWORD_LONG);
        self.hold(!password.contains('\0'), field, "password must not contain the character NUL");
    }

    fn text(&mut self, field: &str, name: &str, text: Option<&String>, most: usize) {
        let Some(text) = text else { return };
        self.hold(!text.trim().is_empty(), field, &format!("{name} cannot be empty if provided"));
        self.bounded(field, name, text, most);
    }

    fn bounded(&mut self, field: &str, name: &str, text: &str, most: usize) {
        self.hold(
            text.chars().count() <= most,
            field,
            &format!("{name} must be at most {most} characters long"),
        );
        // PostgreSQL stores none.
        self.hold(!text.contains('\0'), field, &format!("{name} must not contain the character NUL"));
    }

    fn preferences(&mut self, preferences: &Preferences) {
        self.text("preferences.language", "language", Some(&preferences.language), 35);
        self.text("preferences.timezone", "timezone", Some(&preferences.timezone), 64);
    }

    fn end(self) -> Result<(), Failure> {
        if self.0.is_empty() { Ok(()) } else { Err(Failure::of_fields(self.0)) }
    }
}

/// Whether somebody may register like that.
pub fn check_new(new: &CreateUser) -> Result<(), Failure> {
    let mut check = Check::default();
    check.email(&new.email);
    check.username(&new.username);
    check.password("password", &new.password);
    check.text("firstName", "first name", new.first_name.as_ref(), 100);
    check.text("lastName", "last name", new.last_name.as_ref(), 100);
    check.end()
}

/// Whether a user may become like that (G32).
pub fn check_change(change: &UpdateUser) -> Result<(), Failure> {
    let mut check = Check::default();
    if let Some(email) = &change.email {
        check.email(email);
    }
    if let Some(username) = &change.username {
        check.username(username);
    }
    check.text("firstName", "first name", change.first_name.as_ref().and_then(Option::as_ref), 100);
    check.text("lastName", "last name", change.last_name.as_ref().and_then(Option::as_ref), 100);
    check.text("avatar", "avatar", change.avatar.as_ref().and_then(Option::as_ref), 500);
    if let Some(Some(bio)) = &change.bio {
        check.bounded("bio", "bio", bio, 10_000);
    }
    if let Some(preferences) = &change.preferences {
        check.preferences(preferences);
    }
    check.end()
}

/// Whether a password can be chosen.
pub fn check_password(field: &str, password: &str) -> Result<(), Failure> {
    let mut check = Check::default();
    check.password(field, password);
    check.end()
}

/// `^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$` (D69). ASCII alone: of two addresses that look alike, one is none.
fn is_email(text: &str) -> bool {
    let Some((name, domain)) = text.split_once('@') else { return false };
    let Some((host, end)) = domain.rsplit_once('.') else { return false };
    let all = |part: &str, marks: &str| {
        !part.is_empty()
            && part.chars().all(|letter| letter.is_ascii_alphanumeric() || marks.contains(letter))
    };
    all(name, "._%+-")
        && all(host, ".-")
        && end.len() >= 2
        && end.bytes().all(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(field: &str, value: &str) -> Option<String> {
        let mut new =
            serde_json::json!({ "email": "ada@example.com", "username": "ada", "password": "12345678" });
        new[field] = value.into();
        check_new(&serde_json::from_value(new).unwrap()).err().map(|failure| {
            assert_eq!((failure.status.as_u16(), failure.kind), (400, "VALIDATION_ERROR"));
            assert_eq!(failure.details.len(), 1);
            assert_eq!(failure.details[0].field, field);
            failure.message.into_owned()
        })
    }

    #[test]
    fn each_field_is_refused_in_the_words_of_the_contract() {
        for email in [
            "",
            "ada",
            "ada@",
            "@example.com",
            "ada@example",
            "a b@example.com",
            "ada@example.c",
            "ada@@example.com",
            "ada@.c",
            "ada@exämple.com",
            "ada@example.com\n",
            "ada@example.c0m",
        ] {
            assert_eq!(told("email", email).as_deref(), Some(EMAIL), "{email:?}");
        }
        for email in ["a.b%c+d-e_f@sub.example-x.co", "A@B.CO"] {
            assert_eq!(told("email", email), None, "{email}");
        }
        for username in ["", "ab", "a23456789012345678901"] {
            assert_eq!(told("username", username).as_deref(), Some(USERNAME_LENGTH), "{username:?}");
        }
        // Letters of other scripts that look like these are others' names in disguise.
        for username in ["a b", "ada!", "аda", "ａｄａ", "ada\u{200b}x", "ad\u{0}a"] {
            assert_eq!(told("username", username).as_deref(), Some(USERNAME_CHARACTERS), "{username:?}");
        }
        assert_eq!(told("password", "1234567").as_deref(), Some(PASSWORD_SHORT));
        assert_eq!(told("password", &"x".repeat(73)).as_deref(), Some(PASSWORD_LONG));
        assert_eq!(told("password", &"é".repeat(37)).as_deref(), Some(PASSWORD_LONG));
        assert_eq!(told("password", &"x".repeat(72)), None);
        assert_eq!(told("firstName", " \t").as_deref(), Some("first name cannot be empty if provided"));
        assert_eq!(told("lastName", "").as_deref(), Some("last name cannot be empty if provided"));
        assert_eq!(told("lastName", "O'Brien; DROP TABLE users; --"), None);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let new = serde_json::json!({ "email": "x", "username": "!", "password": "short" });
        let failure = check_new(&serde_json::from_value(new).unwrap()).unwrap_err();
        let fields: Vec<&str> = failure.details.iter().map(|detail| detail.field.as_str()).collect();
        assert_eq!(fields, ["email", "username", "password"]);
        assert_eq!(failure.message, EMAIL);
    }
}
