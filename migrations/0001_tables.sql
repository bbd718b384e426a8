-- One text for SQLite and PostgreSQL: TEXT, BIGINT (milliseconds since the epoch, or a number), BYTEA
-- (sealed secrets), SMALLINT (0 or 1).

CREATE TABLE integrations (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    mode TEXT NOT NULL,
    client_id TEXT NOT NULL,
    client_secret BYTEA NOT NULL,
    robot_code TEXT,
    callback_token BYTEA,
    callback_aes_key BYTEA,
    card_template_id TEXT,
    language TEXT NOT NULL,
    receiver_id TEXT,
    scope TEXT NOT NULL,
    is_paused SMALLINT NOT NULL DEFAULT 0,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- What the edge saw of an integration. Apart from it, so that traffic never touches the configuration.
CREATE TABLE integration_events (
    integration_id TEXT NOT NULL PRIMARY KEY,
    verified_at BIGINT,
    rejected_at BIGINT,
    rejected_code TEXT,
    last_event_at BIGINT,
    last_error_at BIGINT,
    last_error TEXT
);

CREATE TABLE trigger_bindings (
    xpert_id TEXT NOT NULL PRIMARY KEY,
    integration_id TEXT NOT NULL REFERENCES integrations (id),
    is_enabled SMALLINT NOT NULL,
    session_timeout_ms BIGINT NOT NULL,
    summary_window_ms BIGINT NOT NULL,
    busy_policy TEXT NOT NULL,
    queued_notice TEXT NOT NULL,
    allow_conversations TEXT NOT NULL,
    allow_senders TEXT NOT NULL,
    mention_asker SMALLINT NOT NULL,
    act_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Decides which of two publishers gets an integration.
CREATE UNIQUE INDEX trigger_bindings_one_per_integration
    ON trigger_bindings (integration_id) WHERE is_enabled = 1;
CREATE INDEX trigger_bindings_by_integration ON trigger_bindings (integration_id);

CREATE TABLE runtimes (
    xpert_id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    url TEXT,
    secret BYTEA,
    organization_id TEXT,
    lease_ms BIGINT,
    is_paused SMALLINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE audit_log (
    id TEXT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
);

CREATE INDEX audit_log_by_time ON audit_log (at);

-- A projection of the journal: the last session of each conversation.
CREATE TABLE conversations (
    conversation_key TEXT NOT NULL PRIMARY KEY,
    integration_id TEXT NOT NULL,
    xpert_id TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    last_activity_at BIGINT NOT NULL,
    session_timeout_ms BIGINT NOT NULL,
    place_id TEXT NOT NULL,
    place_title TEXT,
    sender_id TEXT NOT NULL,
    sender_name TEXT NOT NULL,
    is_ended SMALLINT NOT NULL
);

CREATE INDEX conversations_by_activity ON conversations (last_activity_at, conversation_key);
CREATE INDEX conversations_by_integration ON conversations (integration_id);
CREATE INDEX conversations_by_xpert ON conversations (xpert_id);

-- A projection of the journal: where a DingTalk message went.
CREATE TABLE messages (
    integration_id TEXT NOT NULL,
    msg_id TEXT NOT NULL,
    conversation_key TEXT NOT NULL,
    seq BIGINT NOT NULL,
    turn_id TEXT,
    at BIGINT NOT NULL,
    PRIMARY KEY (integration_id, msg_id)
);

CREATE INDEX messages_by_time ON messages (at);
