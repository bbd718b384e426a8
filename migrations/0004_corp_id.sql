-- The organisation whose people an integration's allow lists name: staff ids repeat across organisations.

ALTER TABLE integrations ADD COLUMN corp_id TEXT;
