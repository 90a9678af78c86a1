"""The tables of a run: SQLite in WAL mode, one writer, one transaction per chunk.

    run      plan, facts, the models' identity and first answers, what came with the data beside its rows, how often
             it was resumed, whether it is finished
    part     the data as they were when the run began, chunk by chunk: first row, count, hash
    chunk    the seconds of a part that is attacked and recorded: what is here is safe
    sample   name, label and where it comes from, what the model says of it unharmed; where its original is kept
    result   one row per (sample, norm, eps, view, attack, seed) asked, with the place of its example
    stretched  samples whose example works in 8 bits once it is stretched to that radius
    certificate  of images that withstood the attacks at a radius: verdict, what decided, its bound and cost
    skipped  images that could not be read
    probe    what was measured on a small sample before the first attack
    accepted  findings that somebody has taken note of

`lower` is the lower bound of the margin that an attack has to push below 0, and proves where it is above `slack`; both
are NULL where they are no number. `searched`: branch and bound has been asked. A counterexample of it is a result too.

An eps of infinity stands for the search of the smallest example. `turn` numbers the attacks at one radius in the order
in which they run. `claimed` is the share of answers in which the attacker won when the engine looked, and says which
of a sample's examples is its worst; `rate` is the share when the auditor looked, and is what counts. `survives_uint8`
speaks of PNG too, which keeps 8 bits as they are; it and its neighbours are NULL for inputs that are no images.

`margin` is that of the attacker's goal on the example; a graded goal has examples that do not meet it. `details` and
`clean_details` are JSON of the task's own, for its section of the report; NULL where there are none.

`clean_prediction` and `prediction` are JSON, the columns that the task reads of the answers: of a classifier
`predicted` and `confidence`. Where an answer is no number they are null. `label` and `aim` are classes of a classifier;
of other tasks `goal_sha256` tells the goal and the context of a sample from others.

A chunk's examples are on the disk before its rows are committed, so no row names a file that is not there.
"""

FILE = "records.sqlite"
FORMAT = 7
SCHEMA = """
CREATE TABLE run (
    id INTEGER PRIMARY KEY CHECK (id = 1), format INTEGER NOT NULL, plan TEXT NOT NULL, facts TEXT NOT NULL,
    identity TEXT NOT NULL, device TEXT NOT NULL, answers BLOB NOT NULL, reference TEXT NOT NULL,
    reference_tensors BLOB NOT NULL,
    resumed INTEGER NOT NULL DEFAULT 0, finished INTEGER NOT NULL DEFAULT 0);
CREATE TABLE part (
    id INTEGER PRIMARY KEY, first INTEGER NOT NULL, count INTEGER NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE chunk (id INTEGER PRIMARY KEY REFERENCES part, seconds REAL NOT NULL);
CREATE TABLE sample (
    id INTEGER PRIMARY KEY, chunk INTEGER NOT NULL REFERENCES chunk, name TEXT NOT NULL, label INTEGER,
    label_source TEXT NOT NULL, clean_prediction TEXT NOT NULL, clean_details TEXT, clean_finite INTEGER NOT NULL,
    clean_correct INTEGER NOT NULL, clean_claimed REAL NOT NULL, clean_rate REAL NOT NULL,
    clean_rejected REAL NOT NULL, aim INTEGER, sha256 TEXT NOT NULL, goal_sha256 TEXT, original_file TEXT,
    original_row INTEGER);
CREATE TABLE result (
    sample INTEGER NOT NULL REFERENCES sample, norm TEXT NOT NULL, eps REAL NOT NULL, view TEXT NOT NULL,
    attack TEXT NOT NULL, seed INTEGER NOT NULL, turn INTEGER NOT NULL, access TEXT NOT NULL,
    success INTEGER NOT NULL, claimed REAL NOT NULL, rate REAL NOT NULL, linf REAL, l2 REAL, l1 REAL, l0 REAL,
    forwards INTEGER NOT NULL, backwards INTEGER NOT NULL, checks INTEGER NOT NULL, first INTEGER NOT NULL,
    reason TEXT NOT NULL, seconds REAL NOT NULL, prediction TEXT, details TEXT, margin REAL, survives_uint8 INTEGER,
    rate_uint8 REAL, uint8_size REAL, survives_jpeg90 INTEGER, example_file TEXT, example_row INTEGER,
    PRIMARY KEY (sample, norm, eps, view, attack, seed)) WITHOUT ROWID;
CREATE TABLE stretched (
    sample INTEGER NOT NULL REFERENCES sample, norm TEXT NOT NULL, eps REAL NOT NULL, rate REAL NOT NULL,
    PRIMARY KEY (sample, norm, eps)) WITHOUT ROWID;
CREATE TABLE certificate (
    sample INTEGER NOT NULL REFERENCES sample, norm TEXT NOT NULL, eps REAL NOT NULL, verdict TEXT NOT NULL,
    method TEXT NOT NULL, lower REAL, slack REAL, seconds REAL NOT NULL, domains INTEGER NOT NULL,
    searched INTEGER NOT NULL, PRIMARY KEY (sample, norm, eps)) WITHOUT ROWID;
CREATE TABLE skipped (name TEXT PRIMARY KEY, reason TEXT NOT NULL);
CREATE TABLE probe (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE accepted (code TEXT PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX result_by_threat ON result (norm, eps, view, attack, success);
"""
