//! What is said of users, in requests and in answers.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A user (F02). Never with a password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The user's id.
    pub id: Uuid,
    /// The address, as it was written.
    #[schema(example = "ada@example.com")]
    pub email: String,
    /// The name, as it was written.
    #[schema(example = "ada")]
    pub username: String,
    /// What the user may.
    pub role: Role,
    /// Whether the user may log in.
    pub status: Status,
    /// What the user prefers.
    pub preferences: Preferences,
    /// What the user says of themself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Since when.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it was changed last.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// Counts changes: send it back with a change, and nobody else's is lost.
    pub version: i32,
}

/// What a user says of themself (F05).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// The profile's id.
    pub id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// Address of a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
}

/// What a user may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See and change themself.
    User,
    /// See everybody.
    Moderator,
    /// Change everybody.
    Admin,
}

/// Whether a user may log in (F07).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// May.
    Active,
    /// Has left for a while.
    Inactive,
    /// Was sent away.
    Suspended,
}

impl Role {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Moderator => "moderator",
            Role::Admin => "admin",
        }
    }

    /// The role of a word.
    pub fn of(word: &str) -> Option<Role> {
        [Role::User, Role::Moderator, Role::Admin].into_iter().find(|role| role.as_str() == word)
    }
}

impl Status {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Inactive => "inactive",
            Status::Suspended => "suspended",
        }
    }

    /// The status of a word.
    pub fn of(word: &str) -> Option<Status> {
        [Status::Active, Status::Inactive, Status::Suspended]
            .into_iter()
            .find(|status| status.as_str() == word)
    }
}

/// What a user prefers (F07).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Preferences {
    #[schema(
        min_length = 1,
        max_length = 35,
        pattern = r"^[^\u0000]*[^\s\u0000][^\u0000]*$",
        example = "en"
    )]
    pub language: String,
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\u0000]*[^\s\u0000][^\u0000]*$",
        example = "UTC"
    )]
    pub timezone: String,
    pub notifications: bool,
}

/// A registration (F03).
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CreateUser {
    #[schema(
        max_length = 255,
        pattern = r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$",
        example = "ada@example.com"
    )]
    pub email: String,
    #[schema(min_length = 3, max_length = 20, pattern = "^[a-zA-Z0-9_-]+$", example = "ada")]
    pub username: String,
    /// 8 characters and more, of 72 bytes at most: bcrypt takes no more.
    #[schema(min_length = 8, max_length = 72, pattern = r"^[^\u0000]*$", example = "correct horse")]
    pub password: String,
    #[serde(default, alias = "first_name")]
    #[schema(min_length = 1, max_length = 100, pattern = r"^[^\u0000]*[^\s\u0000][^\u0000]*$")]
    pub first_name: Option<String>,
    #[serde(default, alias = "last_name")]
    #[schema(min_length = 1, max_length = 100, pattern = r"^[^\u0000]*[^\s\u0000][^\u0000]*$")]
    pub last_name: Option<String>,
}

/// A change: what is left out stays (D70). In the profile, null removes.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct UpdateUser {
    #[serde(deserialize_with = "given")]
    #[schema(
        value_type = String,
        required = false,
        max_length = 255,
        pattern = r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$"
    )]
    pub email: Option<String>,
    #[serde(deserialize_with = "given")]
    #[schema(value_type = String, required = false, min_length = 3, max_length = 20, pattern = "^[a-zA-Z0-9_-]+$")]
    pub username: Option<String>,
    #[serde(alias = "first_name", deserialize_with = "given")]
    #[schema(value_type = Option<String>, required = false, min_length = 1, max_length = 100, pattern = r"^[^\u0000]*[^\s\u0000][^\u0000]*$")]
    pub first_name: Option<Option<String>>,
    #[serde(alias = "last_name", deserialize_with = "given")]
    #[schema(value_type = Option<String>, required = false, min_length = 1, max_length = 100, pattern = r"^[^\u0000]*[^\s\u0000][^\u0000]*$")]
    pub last_name: Option<Option<String>>,
    /// Address of a picture.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>, required = false, min_length = 1, max_length = 500, pattern = r"^[^\u0000]*[^\s\u0000][^\u0000]*$")]
    pub avatar: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>, required = false, max_length = 10000, pattern = r"^[^\u0000]*$")]
    pub bio: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Preferences, required = false)]
    pub preferences: Option<Preferences>,
    /// The version that the change is of; another one is 409.
    #[serde(deserialize_with = "crate::services::body::whole")]
    #[schema(value_type = i32, required = false)]
    pub version: Option<i32>,
}

/// Something that was given, which may be null only where its own type is optional.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A new password.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ChangePassword {
    /// The one that was; an admin changes somebody else's without it.
    #[serde(default, alias = "current_password")]
    #[schema(max_length = 72)]
    pub current_password: Option<String>,
    #[serde(alias = "new_password")]
    #[schema(min_length = 8, max_length = 72, pattern = r"^[^\u0000]*$")]
    pub new_password: String,
}

/// A new status.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeStatus {
    pub status: Status,
}

/// A new role.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRole {
    pub role: Role,
}

/// One status for many users (DL21).
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeMany {
    /// Whose. What is no id of a user is passed over.
    #[schema(min_items = 1, max_items = 1000)]
    pub ids: Vec<String>,
    pub status: Status,
}

/// What became of many.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// How many were changed.
    pub modified_count: u64,
}

/// What is counted of users (F07).
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Statistics {
    pub total: i64,
    pub by_status: ByStatus,
    /// Those of the last 30 days.
    pub recent_signups: i64,
}

/// Users by status.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ByStatus {
    pub active: i64,
    pub inactive: i64,
    pub suspended: i64,
}

/// What was found.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Found {
    /// At most 20.
    pub items: Vec<User>,
}

/// A login (G15).
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The address, in any case.
    #[schema(min_length = 1, max_length = 255, pattern = r"^[^\u0000]*$")]
    pub email: String,
    #[schema(min_length = 1, max_length = 72, pattern = r"^[^\u0000]*$")]
    pub password: String,
}

/// Asks for the next tokens of a session.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Renew {
    /// The refresh token that was given last.
    #[serde(alias = "refresh_token")]
    #[schema(min_length = 1, max_length = 200)]
    pub refresh_token: String,
}

/// The tokens of a session.
#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Granted {
    /// Id of the session, to end it by.
    pub session_id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// For `Authorization: Bearer`.
    pub access_token: String,
    /// For the next tokens. It holds once.
    pub refresh_token: String,
    /// `Bearer`.
    pub token_type: &'static str,
    /// Seconds for which the access token holds.
    pub expires_in: u64,
}

/// A session.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub id: Uuid,
    /// Whether it is the one that asks.
    pub current: bool,
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it was logged in or renewed last.
    #[schema(format = DateTime)]
    pub used_at: String,
    #[schema(format = DateTime)]
    pub expires_at: String,
}

/// The sessions of a user.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Sessions {
    pub items: Vec<Session>,
}
