-- The first schema. STRICT tables, ids never reused (AUTOINCREMENT), NOT NULL with defaults, times in seconds since
-- the epoch as REAL. Secrets are sealed before they come here.

CREATE TABLE installation (          -- facts that are fixed at the first start
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE counter (               -- counted in the commit that makes it true; the account is checked against it
  name TEXT PRIMARY KEY,             -- taken accepted auto-replied
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE touchpoint (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  address TEXT NOT NULL,
  address_key TEXT NOT NULL,         -- normalised, for comparing
  name TEXT NOT NULL,
  version INTEGER NOT NULL DEFAULT 1,
  direction TEXT NOT NULL DEFAULT 'both',
  aliases TEXT NOT NULL DEFAULT '[]',
  connection TEXT NOT NULL DEFAULT '{}',
  signs_relayed INTEGER NOT NULL DEFAULT 0,
  active INTEGER NOT NULL DEFAULT 0,
  activated_at REAL NOT NULL DEFAULT 0,
  state TEXT NOT NULL DEFAULT 'new',  -- new connecting connected backoff lost
  cause TEXT NOT NULL DEFAULT '',     -- a Cause, while backoff or lost
  reason TEXT NOT NULL DEFAULT '',    -- the server's words
  state_since REAL NOT NULL DEFAULT 0,
  signed_in_at REAL NOT NULL DEFAULT 0,
  polled_at REAL NOT NULL DEFAULT 0,
  mailbox_identity TEXT NOT NULL DEFAULT '',
  created_at REAL NOT NULL DEFAULT 0,
  deleted_at REAL NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX touchpoint_address ON touchpoint (address_key) WHERE deleted_at = 0;

CREATE TABLE secret (                -- sealed; the row is the associated data
  touchpoint_id INTEGER NOT NULL REFERENCES touchpoint (id),
  name TEXT NOT NULL,
  sealed BLOB NOT NULL,
  updated_at REAL NOT NULL,
  PRIMARY KEY (touchpoint_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE ring_group (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  created_at REAL NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE linked_queue (
  touchpoint_id INTEGER NOT NULL REFERENCES touchpoint (id),
  ring_group_id INTEGER NOT NULL REFERENCES ring_group (id),
  PRIMARY KEY (touchpoint_id, ring_group_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE blocked_sender (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  touchpoint_id INTEGER NOT NULL REFERENCES touchpoint (id),
  pattern TEXT NOT NULL,             -- user@domain or @domain, normalised
  note TEXT NOT NULL DEFAULT '',
  added_by TEXT NOT NULL DEFAULT '',
  added_at REAL NOT NULL DEFAULT 0,
  UNIQUE (touchpoint_id, pattern)
) STRICT;

CREATE TABLE template (              -- one auto-reply and one signature per touchpoint, by the key
  touchpoint_id INTEGER NOT NULL REFERENCES touchpoint (id),
  kind TEXT NOT NULL,                -- auto_reply signature
  active INTEGER NOT NULL DEFAULT 0,
  subject TEXT NOT NULL DEFAULT '',
  text TEXT NOT NULL DEFAULT '',
  html TEXT NOT NULL DEFAULT '',
  updated_at REAL NOT NULL DEFAULT 0,
  PRIMARY KEY (touchpoint_id, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE relay_user (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  password_hash TEXT NOT NULL,       -- argon2id
  signature INTEGER NOT NULL DEFAULT 0,
  notify TEXT NOT NULL DEFAULT '',
  created_at REAL NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE relay_grant (
  relay_user_id INTEGER NOT NULL REFERENCES relay_user (id) ON DELETE CASCADE,
  touchpoint_id INTEGER NOT NULL REFERENCES touchpoint (id),
  PRIMARY KEY (relay_user_id, touchpoint_id)
) STRICT, WITHOUT ROWID;

-- What servers showed us -------------------------------------------------------------------------------------------

CREATE TABLE cursor (
  touchpoint_id INTEGER NOT NULL REFERENCES touchpoint (id),
  folder TEXT NOT NULL,
  value TEXT NOT NULL,               -- opaque, versioned: cursor.py
  updated_at REAL NOT NULL,
  PRIMARY KEY (touchpoint_id, folder)
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  touchpoint_id INTEGER NOT NULL REFERENCES touchpoint (id),
  folder TEXT NOT NULL,
  epoch INTEGER NOT NULL,            -- UIDVALIDITY
  remote_id INTEGER NOT NULL,        -- UID
  state TEXT NOT NULL,               -- taken pending moved gone
  entry_id INTEGER NOT NULL DEFAULT 0,
  internaldate REAL NOT NULL DEFAULT 0,
  size INTEGER NOT NULL DEFAULT 0,
  message_id TEXT NOT NULL DEFAULT '',
  head_hash BLOB NOT NULL DEFAULT x'',
  sha256 BLOB NOT NULL DEFAULT x'',
  mark_due TEXT NOT NULL DEFAULT '', -- seen, or move:FOLDER, until the server said OK
  attempts INTEGER NOT NULL DEFAULT 0,
  due_at REAL NOT NULL DEFAULT 0,    -- of a pending item
  error TEXT NOT NULL DEFAULT '',
  seen_at REAL NOT NULL DEFAULT 0,
  UNIQUE (touchpoint_id, folder, epoch, remote_id)
) STRICT;
CREATE INDEX ledger_pending ON ledger (touchpoint_id, due_at) WHERE state = 'pending';
CREATE INDEX ledger_mark ON ledger (touchpoint_id) WHERE mark_due <> '';
CREATE INDEX ledger_sha256 ON ledger (sha256);

CREATE TABLE ledger_range (          -- items that were left alone as a whole
  touchpoint_id INTEGER NOT NULL REFERENCES touchpoint (id),
  folder TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  low INTEGER NOT NULL,              -- remote ids low..high, both inclusive
  high INTEGER NOT NULL,
  kind TEXT NOT NULL,                -- older skipped
  at REAL NOT NULL,
  PRIMARY KEY (touchpoint_id, folder, epoch, low)
) STRICT, WITHOUT ROWID;

CREATE TABLE fingerprint (           -- the last items of each folder at connect: is another touchpoint the same mailbox?
  touchpoint_id INTEGER NOT NULL REFERENCES touchpoint (id),
  folder TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  remote_id INTEGER NOT NULL,
  head_hash BLOB NOT NULL,
  PRIMARY KEY (touchpoint_id, folder, epoch, remote_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE strike (                -- mail that was in hand when the process died: flight note -> row at the next start
  touchpoint_id INTEGER NOT NULL,
  folder TEXT NOT NULL,              -- '' for a mail of the spool that was walked again: low = high = entry id
  epoch INTEGER NOT NULL,
  low INTEGER NOT NULL,              -- remote ids low..high, both inclusive: a page while fetched, one mail while walked
  high INTEGER NOT NULL,
  phase TEXT NOT NULL,               -- fetch walk
  count INTEGER NOT NULL,
  at REAL NOT NULL,
  PRIMARY KEY (touchpoint_id, folder, epoch, low, high)
) STRICT, WITHOUT ROWID;

-- Content ----------------------------------------------------------------------------------------------------------

CREATE TABLE content (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  size INTEGER NOT NULL DEFAULT 0,
  sha256 BLOB NOT NULL DEFAULT x'',
  owned INTEGER NOT NULL DEFAULT 0   -- 0 until an entry adopts it; start-up sweeps the unowned
) STRICT;
CREATE INDEX content_unowned ON content (id) WHERE owned = 0;

CREATE TABLE chunk (
  id INTEGER PRIMARY KEY,            -- content id * 2^20 + number of the chunk, so a content's chunks are neighbours
  data BLOB NOT NULL                 -- 256 KiB, the last one less
) STRICT;

-- The spool --------------------------------------------------------------------------------------------------------

CREATE TABLE entry (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  touchpoint_id INTEGER NOT NULL REFERENCES touchpoint (id),
  direction TEXT NOT NULL,           -- in out
  origin TEXT NOT NULL,              -- fetched relay auto-reply notice
  state TEXT NOT NULL,               -- waiting active held unknown failed done
  disposition TEXT NOT NULL DEFAULT '', -- of done: queued stopped delivered dropped
  closed INTEGER NOT NULL DEFAULT 0, -- of queued: somebody dealt with it
  cause TEXT NOT NULL DEFAULT '',    -- of held: a HoldCause; of waiting and failed: the last trouble
  reason TEXT NOT NULL DEFAULT '',
  held_by TEXT NOT NULL DEFAULT '',  -- the stages that held it; a release makes them answer "released by NAME"
  released_by TEXT NOT NULL DEFAULT '',
  kind TEXT NOT NULL DEFAULT '',     -- a Kind
  mark TEXT NOT NULL DEFAULT '',     -- something people should see: bounced, unmatched bounce, junk
  content_id INTEGER NOT NULL DEFAULT 0,
  size INTEGER NOT NULL DEFAULT 0,
  splices BLOB NOT NULL DEFAULT x'', -- of a rewritten outbound mail: spool.py
  seed TEXT NOT NULL DEFAULT '',
  envelope_sender TEXT,              -- '' is the null sender, NULL unknown
  author TEXT NOT NULL DEFAULT '',   -- normalised From
  subject TEXT NOT NULL DEFAULT '',  -- decoded
  message_id TEXT NOT NULL DEFAULT '',
  conversation_id INTEGER NOT NULL DEFAULT 0,
  config_version INTEGER NOT NULL DEFAULT 0,
  relay_user_id INTEGER NOT NULL DEFAULT 0,
  received_at REAL NOT NULL DEFAULT 0, -- INTERNALDATE, or the time of submission
  accepted_at REAL NOT NULL,         -- our commit
  settled_at REAL NOT NULL DEFAULT 0,
  due_at REAL NOT NULL DEFAULT 0,    -- of waiting: not before
  deferred_since REAL NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0, -- answered ones
  planned REAL NOT NULL DEFAULT 0,   -- sum of planned delays after answered attempts, seconds
  sent_copy_due INTEGER NOT NULL DEFAULT 0, -- delivered, and our copy in Sent is still to be filed
  notice_for INTEGER NOT NULL DEFAULT 0 -- the failed entry that this notice tells about
) STRICT;
CREATE INDEX entry_waiting ON entry (touchpoint_id, direction, due_at) WHERE state = 'waiting';
CREATE INDEX entry_active ON entry (touchpoint_id) WHERE state = 'active';
CREATE INDEX entry_state ON entry (state, disposition, id);
CREATE INDEX entry_account ON entry (direction, origin, state, disposition);
CREATE INDEX entry_open ON entry (touchpoint_id, id) WHERE disposition = 'queued' AND closed = 0;
CREATE INDEX entry_open_by_id ON entry (id) WHERE disposition = 'queued' AND closed = 0;
CREATE INDEX entry_message_id ON entry (message_id);
CREATE INDEX entry_auto_reply ON entry (touchpoint_id, accepted_at) WHERE origin = 'auto-reply';
CREATE INDEX entry_author ON entry (author, id);
CREATE INDEX entry_conversation ON entry (conversation_id);
CREATE INDEX entry_sent_copy ON entry (touchpoint_id) WHERE sent_copy_due = 1;
CREATE UNIQUE INDEX entry_notice ON entry (notice_for) WHERE notice_for <> 0;

CREATE TABLE recipient (             -- one row per RCPT of an outbound entry, with its own result
  entry_id INTEGER NOT NULL REFERENCES entry (id),
  number INTEGER NOT NULL,
  address TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'waiting', -- waiting delivered refused
  code INTEGER NOT NULL DEFAULT 0,
  text TEXT NOT NULL DEFAULT '',
  at REAL NOT NULL DEFAULT 0,
  PRIMARY KEY (entry_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempt (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  entry_id INTEGER NOT NULL REFERENCES entry (id),
  started_at REAL NOT NULL,
  phase TEXT NOT NULL DEFAULT 'data', -- data: the answer is still out; answered; unknown
  ended_at REAL NOT NULL DEFAULT 0,
  outcome TEXT NOT NULL DEFAULT '',  -- accepted refused retry unknown
  code INTEGER NOT NULL DEFAULT 0,
  text TEXT NOT NULL DEFAULT '',     -- the server's words
  server TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX attempt_entry ON attempt (entry_id, id);
CREATE INDEX attempt_open ON attempt (entry_id) WHERE phase = 'data';

CREATE TABLE walk (                  -- a trail: the verdicts of one walk of one mail
  entry_id INTEGER NOT NULL REFERENCES entry (id),
  number INTEGER NOT NULL,
  at REAL NOT NULL,
  config_version INTEGER NOT NULL,
  trail TEXT NOT NULL,               -- JSON: [[stage, action, reason], ...]
  PRIMARY KEY (entry_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE assignment (            -- frozen when the mail was decided; a person may move the mail
  ring_group_id INTEGER NOT NULL REFERENCES ring_group (id),
  entry_id INTEGER NOT NULL REFERENCES entry (id),
  open INTEGER NOT NULL DEFAULT 1,   -- the mail is queued and not closed: kept by the trigger, for the index
  PRIMARY KEY (ring_group_id, entry_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX assignment_entry ON assignment (entry_id);
CREATE INDEX assignment_open ON assignment (open, ring_group_id, entry_id) WHERE open = 1;
CREATE TRIGGER assignment_follows AFTER UPDATE OF disposition, closed ON entry WHEN new.direction = 'in'
BEGIN
  UPDATE assignment SET open = (new.disposition = 'queued' AND new.closed = 0) WHERE entry_id = new.id;
END;

CREATE TABLE conversation (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL UNIQUE,
  touchpoint_id INTEGER NOT NULL REFERENCES touchpoint (id),
  subject TEXT NOT NULL DEFAULT '',
  opened_at REAL NOT NULL,
  last_at REAL NOT NULL
) STRICT;

CREATE TABLE participant (
  conversation_id INTEGER NOT NULL REFERENCES conversation (id),
  address TEXT NOT NULL,
  PRIMARY KEY (conversation_id, address)
) STRICT, WITHOUT ROWID;

CREATE TABLE answered (              -- the auto-reply memory
  mailbox TEXT NOT NULL,             -- mailbox identity
  address TEXT NOT NULL,             -- normalised, without tag
  at REAL NOT NULL,
  PRIMARY KEY (mailbox, address)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL,
  actor TEXT NOT NULL,               -- login name or uid
  uid INTEGER NOT NULL,
  role TEXT NOT NULL,
  verb TEXT NOT NULL,
  subject TEXT NOT NULL,             -- what it was done to
  detail TEXT NOT NULL DEFAULT '{}'  -- JSON, no secrets
) STRICT;
