-- What operators did with dead letters: the letters themselves are records of the stream DT_DEAD. A
-- record's sequence starts anew when its stream is created again, so its time belongs to the key.

CREATE TABLE dead_letters (
    seq BIGINT NOT NULL,
    stored_at BIGINT NOT NULL,
    state TEXT NOT NULL,
    shown TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (seq, stored_at)
);

CREATE INDEX dead_letters_by_time ON dead_letters (at);
