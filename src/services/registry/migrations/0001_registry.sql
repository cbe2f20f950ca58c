-- Services that have told their schema, by what their tokens call them.
CREATE TABLE registered_services (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    namespace varchar(253) NOT NULL,
    name varchar(253) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version int NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX idx_registered_services_name ON registered_services (name, namespace);
CREATE INDEX idx_registered_services_created_at ON registered_services (created_at, id);

-- Schemas as they were told, each that differs from the one before it.
CREATE TABLE schema_revisions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    service_id uuid NOT NULL CONSTRAINT fk_schema_revisions_service_id REFERENCES registered_services (id) ON DELETE CASCADE,
    revision int NOT NULL,
    service_version varchar(128) NOT NULL,
    told_at timestamptz NOT NULL,
    digest bytea NOT NULL,
    definition jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version int NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX idx_schema_revisions_service_id ON schema_revisions (service_id, revision);

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
