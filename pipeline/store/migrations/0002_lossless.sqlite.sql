-- Resuming where a cursor died, outcomes that nobody knows yet, and what the two need to be found fast.

CREATE TABLE resume (                -- the last time that a folder had new numbers: what was found, and who was asked
  touchpoint_id INTEGER NOT NULL REFERENCES touchpoint (id),
  folder TEXT NOT NULL,
  epoch INTEGER NOT NULL,            -- the new one
  known INTEGER NOT NULL DEFAULT 0,  -- items that we had already
  left_alone INTEGER NOT NULL DEFAULT 0, -- items that were left alone before, or are now
  unseen INTEGER NOT NULL,           -- items that we do not know
  old INTEGER NOT NULL,              -- of these: dated before the last arrival
  high INTEGER NOT NULL DEFAULT 0,   -- what is taken up to this remote id gets no auto-reply
  asked_at REAL NOT NULL,            -- 0: nobody had to be asked
  resumed_at REAL NOT NULL DEFAULT 0, -- 0: not yet
  choice TEXT NOT NULL DEFAULT '',   -- '' is open; take, leave
  chosen_by TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (touchpoint_id, folder)
) STRICT, WITHOUT ROWID;

ALTER TABLE ledger ADD COLUMN known_id INTEGER NOT NULL DEFAULT 0; -- of known: the row under its earlier number

ALTER TABLE entry ADD COLUMN looks INTEGER NOT NULL DEFAULT 0; -- of unknown: how often Sent was searched for it
CREATE INDEX entry_unknown ON entry (touchpoint_id, due_at) WHERE state = 'unknown';

CREATE TABLE expiry (                -- held mail as the daemon saw it: what counts is its own time, never a clock that was set
  entry_id INTEGER PRIMARY KEY REFERENCES entry (id),
  seconds REAL NOT NULL DEFAULT 0,   -- for which it was seen held
  mark TEXT NOT NULL,                -- changes when it was released, and is held again
  expires_at REAL NOT NULL           -- about when it is dropped, for people
) STRICT;
