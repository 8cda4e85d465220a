-- One row: the number of the last transaction that changed something, and the last one whose changes are forgotten.
CREATE TABLE counter (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL,
    forgotten  INTEGER NOT NULL
) STRICT;
INSERT INTO counter VALUES (1, 0, 0);

-- The `document` column is the document, as JSON; the other columns are for finding it. `node` is null for a shared one.
CREATE TABLE documents (
    uid      BLOB NOT NULL UNIQUE,
    kind     TEXT NOT NULL,
    scope    TEXT NOT NULL,
    name     TEXT NOT NULL,
    node     TEXT,
    document TEXT NOT NULL,
    UNIQUE (kind, scope, name)
) STRICT;
CREATE INDEX documents_by_kind ON documents (kind, uid);
CREATE INDEX documents_by_scope ON documents (kind, scope, uid);

CREATE TABLE tags (
    tag TEXT NOT NULL,
    uid BLOB NOT NULL REFERENCES documents (uid) ON DELETE CASCADE,
    PRIMARY KEY (tag, uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_by_document ON tags (uid);

CREATE TABLE unique_keys (
    field TEXT NOT NULL,
    value TEXT NOT NULL,
    uid   BLOB NOT NULL REFERENCES documents (uid) ON DELETE CASCADE,
    PRIMARY KEY (field, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX unique_keys_by_document ON unique_keys (uid);

-- Its target is named by identity and need not exist while a transaction is under way.
CREATE TABLE document_references (
    kind     TEXT NOT NULL,
    scope    TEXT NOT NULL,
    name     TEXT NOT NULL,
    uid      BLOB NOT NULL REFERENCES documents (uid) ON DELETE CASCADE,
    field    TEXT NOT NULL,
    cascades INTEGER NOT NULL,
    PRIMARY KEY (kind, scope, name, uid, field, cascades)
) STRICT, WITHOUT ROWID;
CREATE INDEX document_references_by_document ON document_references (uid);

-- What happened, until it is forgotten. `node_before` is where the document was placed before; the same as `node` where there is no
-- before or no after.
CREATE TABLE transactions (
    generation INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    actor      TEXT NOT NULL,
    owner      TEXT NOT NULL,
    reason     TEXT NOT NULL
) STRICT;
CREATE TABLE changes (
    generation  INTEGER NOT NULL REFERENCES transactions (generation) ON DELETE CASCADE,
    ordinal     INTEGER NOT NULL,
    op          TEXT NOT NULL,
    kind        TEXT NOT NULL,
    scope       TEXT NOT NULL,
    name        TEXT NOT NULL,
    node        TEXT,
    node_before TEXT,
    document    TEXT NOT NULL,
    PRIMARY KEY (generation, ordinal)
) STRICT, WITHOUT ROWID;
