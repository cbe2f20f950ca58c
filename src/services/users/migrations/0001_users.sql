-- Names are unique whatever their case: Ada@Example.com and ada@example.com are one person.
CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email varchar(255) NOT NULL,
    username varchar(50) NOT NULL,
    password varchar(255) NOT NULL,
    role varchar(20) NOT NULL DEFAULT 'user' CHECK (role IN ('user', 'moderator', 'admin')),
    status varchar(20) NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'inactive', 'suspended')),
    preferences jsonb NOT NULL DEFAULT '{"language": "en", "timezone": "UTC", "notifications": true}',
    last_login timestamptz,
    login_count int NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version int NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX idx_users_email ON users (lower(email));
CREATE UNIQUE INDEX idx_users_username ON users (lower(username));
CREATE INDEX idx_users_created_at ON users (created_at, id);
CREATE INDEX idx_users_status ON users (status, created_at, id);

CREATE TABLE user_profiles (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL CONSTRAINT fk_user_profiles_user_id REFERENCES users (id) ON DELETE CASCADE,
    first_name varchar(100),
    last_name varchar(100),
    avatar varchar(500),
    bio text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version int NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX idx_user_profiles_user_id ON user_profiles (user_id);

-- Refresh tokens are kept as their SHA-256: who reads this table can use none.
CREATE TABLE user_sessions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL CONSTRAINT fk_user_sessions_user_id REFERENCES users (id) ON DELETE CASCADE,
    refresh_hash bytea NOT NULL,
    previous_hash bytea,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version int NOT NULL DEFAULT 1
);
CREATE INDEX idx_user_sessions_user_id ON user_sessions (user_id);
CREATE INDEX idx_user_sessions_expires_at ON user_sessions (expires_at);
CREATE INDEX idx_user_sessions_updated_at ON user_sessions (updated_at);

-- Failed logins of an account, known or not; the account is kept as its SHA-256.
CREATE TABLE login_attempts (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    account bytea NOT NULL,
    failures int NOT NULL,
    window_ends timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version int NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX idx_login_attempts_account ON login_attempts (account);
CREATE INDEX idx_login_attempts_window_ends ON login_attempts (window_ends);

-- Who changed what. It outlives the user, so there is no foreign key.
CREATE TABLE user_changes (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL,
    actor_id uuid,
    action varchar(50) NOT NULL,
    changes jsonb NOT NULL,
    correlation_id varchar(128) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version int NOT NULL DEFAULT 1
);
CREATE INDEX idx_user_changes_user_id ON user_changes (user_id, created_at);

CREATE TABLE outbox_events (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    position bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    kind varchar(100) NOT NULL,
    subject uuid NOT NULL,
    correlation_id varchar(128) NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version int NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX idx_outbox_events_position ON outbox_events (position);
