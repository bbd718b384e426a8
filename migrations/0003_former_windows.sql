-- What was said before another window was published keeps the one of its time.

ALTER TABLE trigger_bindings ADD COLUMN former_window_ms BIGINT;
ALTER TABLE trigger_bindings ADD COLUMN former_window_until BIGINT;
