/* What the web process does for every bet, compiled: see taptrading/native/__init__.py.

   Both functions know only the plain form of what comes and answer None to everything else, which
   is then read by the Python way. So no refusal is made here, and none can differ from Python's;
   what is accepted here has to be accepted there, with the same values.

   Nothing is read outside [at, end) of a scan, and all that is written has a size known before. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#ifndef SOURCE_SHA256
#define SOURCE_SHA256 ""
#endif

enum {
    BODY_MAX = 16384,
    DOMAIN_MAX = 255,
    ADDRESS_TEXT = 42,
    ADDRESS_DIGITS = 40,
    SIGNATURE = 65,
    SIGNATURE_TEXT = 2 + 2 * SIGNATURE,
    NONCE_TEXT = 36,
    NONCE_DIGITS = 32,
    CELL_NUMBER_DIGITS = 18,
    TEXT_MAX = 1024
};

/* ---- Scanning: a piece of somebody's bytes ---- */

typedef struct {
    const char *at;
    const char *end;
} Scan;

static Py_ssize_t size_of(Scan scan) { return scan.end - scan.at; }

static int is_next(const Scan *scan, char wanted) {
    return scan->at < scan->end && *scan->at == wanted;
}

static int take(Scan *scan, char wanted) {
    if (!is_next(scan, wanted)) return 0;
    scan->at++;
    return 1;
}

static int is_text(Scan scan, const char *text) {
    size_t size = strlen(text);
    return (size_t)size_of(scan) == size && memcmp(scan.at, text, size) == 0;
}

static int is_digit(char c) { return c >= '0' && c <= '9'; }

/* Canonical decimal from 0 to 2^63 - 1. */
static int take_number(Scan *scan, int64_t *number) {
    const char *start = scan->at;
    int64_t found = 0;
    while (scan->at < scan->end && is_digit(*scan->at)) {
        int digit = *scan->at - '0';
        if (found > (INT64_MAX - digit) / 10) return 0;
        found = found * 10 + digit;
        scan->at++;
    }
    if (scan->at == start || (*start == '0' && scan->at - start > 1)) return 0;
    *number = found;
    return 1;
}

/* The value of a hex digit; -1 for any other character. */
static int nibble(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static const char HEX[] = "0123456789abcdef";

/* ---- Keccak-256, as Ethereum has it (padding 0x01) ---- */

enum { RATE = 136, LANES = 25 };

static const uint64_t ROUND_CONSTANTS[24] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000,
    0x000000000000808b, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
    0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
    0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003,
    0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008};
static const int ROTATIONS[24] = {1,  3,  6,  10, 15, 21, 28, 36, 45, 55, 2,  14,
                                  27, 41, 56, 8,  25, 43, 62, 18, 39, 61, 20, 44};
static const int PLACES[24] = {10, 7,  11, 17, 18, 3, 5,  16, 8,  21, 24, 4,
                               15, 23, 19, 13, 12, 2, 20, 14, 22, 9,  6,  1};

static uint64_t rotated(uint64_t word, int by) { return word << by | word >> (64 - by); }

/* Unrolled, so that every place and rotation is a constant and the lanes stay in registers. */
#define UNROLLED _Pragma("GCC unroll 25")

static void permute(uint64_t state[LANES]) {
    uint64_t s[LANES];
    memcpy(s, state, sizeof s);
    for (int round = 0; round < 24; round++) {
        uint64_t c[5], kept = 0;
        UNROLLED for (int x = 0; x < 5; x++)
            c[x] = s[x] ^ s[x + 5] ^ s[x + 10] ^ s[x + 15] ^ s[x + 20];
        UNROLLED for (int x = 0; x < 5; x++) {
            uint64_t d = c[(x + 4) % 5] ^ rotated(c[(x + 1) % 5], 1);
            UNROLLED for (int y = 0; y < LANES; y += 5) s[y + x] ^= d;
        }
        kept = s[1];
        UNROLLED for (int i = 0; i < 24; i++) {
            uint64_t moved = s[PLACES[i]];
            s[PLACES[i]] = rotated(kept, ROTATIONS[i]);
            kept = moved;
        }
        UNROLLED for (int y = 0; y < LANES; y += 5) {
            UNROLLED for (int x = 0; x < 5; x++) c[x] = s[y + x];
            UNROLLED for (int x = 0; x < 5; x++)
                s[y + x] = c[x] ^ (~c[(x + 1) % 5] & c[(x + 2) % 5]);
        }
        s[0] ^= ROUND_CONSTANTS[round];
    }
    memcpy(state, s, sizeof s);
}

static void absorb(uint64_t s[LANES], const unsigned char block[RATE]) {
    for (int lane = 0; lane < RATE / 8; lane++) {
        uint64_t word = 0;
        for (int byte = 7; byte >= 0; byte--) word = word << 8 | block[8 * lane + byte];
        s[lane] ^= word;
    }
    permute(s);
}

static void keccak_256(const unsigned char *data, size_t size, unsigned char digest[32]) {
    uint64_t s[LANES] = {0};
    unsigned char last[RATE] = {0};
    for (; size >= RATE; data += RATE, size -= RATE) absorb(s, data);
    memcpy(last, data, size);
    last[size] = 0x01;
    last[RATE - 1] |= 0x80;
    absorb(s, last);
    for (int byte = 0; byte < 32; byte++) digest[byte] = (unsigned char)(s[byte / 8] >> 8 * (byte % 8));
}

/* ---- The body of a bet: one flat JSON object of eight known fields ---- */

typedef struct {
    Scan wallet, cell_id, nonce, signature;            /* what stands between the quotation marks */
    Scan stake_micros, min_rate_bps, timestamp, chain; /* the digits */
    int64_t stake_micros_value, min_rate_bps_value, timestamp_value, chain_value;
} Fields;

static void skip_space(Scan *scan) {
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r'))
        scan->at++;
}

/* Plain ASCII between quotation marks: no field has a reason for an escape. */
static int take_string(Scan *scan, Scan *text) {
    if (!take(scan, '"')) return 0;
    text->at = scan->at;
    for (; scan->at < scan->end && *scan->at != '"'; scan->at++)
        if (*scan->at < 0x20 || *scan->at > 0x7e || *scan->at == '\\') return 0;
    text->end = scan->at;
    return take(scan, '"');
}

static int take_integer(Scan *scan, Scan *text, int64_t *number) {
    text->at = scan->at;
    if (!take_number(scan, number)) return 0;
    text->end = scan->at;
    return 1;
}

static int take_field(Scan *scan, Fields *fields, unsigned *seen) {
    static const char *const NAMES[8] = {"wallet",    "cell_id",      "nonce",     "signature",
                                         "stake_micros", "min_rate_bps", "timestamp", "chain_id"};
    Scan *texts[8] = {&fields->wallet,       &fields->cell_id,      &fields->nonce,
                      &fields->signature,    &fields->stake_micros, &fields->min_rate_bps,
                      &fields->timestamp,    &fields->chain};
    int64_t *numbers[4] = {&fields->stake_micros_value, &fields->min_rate_bps_value,
                           &fields->timestamp_value, &fields->chain_value};
    Scan name;
    int field = 0;
    skip_space(scan);
    if (!take_string(scan, &name)) return 0;
    while (field < 8 && !is_text(name, NAMES[field])) field++;
    if (field == 8 || *seen & 1u << field) return 0;
    *seen |= 1u << field;
    skip_space(scan);
    if (!take(scan, ':')) return 0;
    skip_space(scan);
    if (field < 4 ? !take_string(scan, texts[field])
                  : !take_integer(scan, texts[field], numbers[field - 4]))
        return 0;
    skip_space(scan);
    return 1;
}

static int take_fields(Scan body, Fields *fields) {
    unsigned seen = 0;
    skip_space(&body);
    if (!take(&body, '{')) return 0;
    do {
        if (!take_field(&body, fields, &seen)) return 0;
    } while (take(&body, ','));
    if (!take(&body, '}')) return 0;
    skip_space(&body);
    return body.at == body.end && seen == 0xff;
}

/* ---- The forms of its fields ---- */

static int read_address(Scan text, char lower[ADDRESS_TEXT]) {
    if (size_of(text) != ADDRESS_TEXT || text.at[0] != '0' || (text.at[1] | 0x20) != 'x') return 0;
    lower[0] = '0';
    lower[1] = 'x';
    for (int i = 2; i < ADDRESS_TEXT; i++) {
        int value = nibble(text.at[i]);
        if (value < 0) return 0;
        lower[i] = HEX[value];
    }
    return 1;
}

static int read_signature(Scan text, unsigned char signature[SIGNATURE]) {
    if (size_of(text) != SIGNATURE_TEXT || text.at[0] != '0' || text.at[1] != 'x') return 0;
    for (int i = 0; i < SIGNATURE; i++) {
        int high = nibble(text.at[2 + 2 * i]), low = nibble(text.at[3 + 2 * i]);
        if (high < 0 || low < 0) return 0;
        signature[i] = (unsigned char)(high << 4 | low);
    }
    return 1;
}

static int read_nonce(Scan text, char digits[NONCE_DIGITS]) {
    int found = 0;
    if (size_of(text) != NONCE_TEXT) return 0;
    for (int i = 0; i < NONCE_TEXT; i++) {
        char c = text.at[i];
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (c != '-') return 0;
        } else if (is_digit(c) || (c >= 'a' && c <= 'f')) {
            digits[found++] = c;
        } else {
            return 0;
        }
    }
    return 1;
}

static int read_cell(Scan text, int64_t numbers[3]) {
    for (int i = 0; i < 3; i++) {
        const char *start = text.at;
        if (!take_number(&text, &numbers[i]) || text.at - start > CELL_NUMBER_DIGITS) return 0;
        if (i < 2 && !take(&text, '_')) return 0;
    }
    return text.at == text.end;
}

/* ---- Who signed it ---- */

/* libsecp256k1's functions, and its opaque values in the sizes that its interface promises. */
typedef int (*ParseCompact)(const void *, void *, const unsigned char *, int);
typedef int (*Recover)(const void *, void *, const void *, const unsigned char *);
typedef int (*Serialize)(const void *, unsigned char *, size_t *, const void *, unsigned int);

enum { POINT = 65, UNCOMPRESSED = 1 << 1 };

typedef struct {
    PyObject_HEAD
    PyTypeObject *form;
    const void *context;
    ParseCompact parse_compact;
    Recover recover;
    Serialize serialize;
    int64_t chain;
    Py_ssize_t head_size, tail_size;
    char head[64 + DOMAIN_MAX]; /* the signed text up to the wallet */
    char tail[64];              /* and from behind the timestamp */
} BetReader;

static const unsigned char HALF_ORDER[32] = {
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0};

typedef struct {
    char bytes[TEXT_MAX];
    size_t size;
    int full;
} Text;

static void add(Text *text, const char *bytes, size_t size) {
    if (size > TEXT_MAX - text->size) {
        text->full = 1;
        return;
    }
    memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
}

static void add_line(Text *text, const char *name, Scan value) {
    add(text, name, strlen(name));
    add(text, value.at, (size_t)size_of(value));
}

static void add_signed_text(const BetReader *self, const Fields *fields, const char *wallet,
                            Text *text) {
    add(text, self->head, (size_t)self->head_size);
    add(text, wallet, ADDRESS_TEXT);
    add_line(text, "\nCell: ", fields->cell_id);
    add_line(text, "\nStake: ", fields->stake_micros);
    add_line(text, "\nMinRate: ", fields->min_rate_bps);
    add_line(text, "\nNonce: ", fields->nonce);
    add_line(text, "\nTimestamp: ", fields->timestamp);
    add(text, self->tail, (size_t)self->tail_size);
}

/* The lower-case address of who personal-signed the text. 0 if nobody did. */
static int recover_signer(const BetReader *self, const Text *text,
                          const unsigned char signature[SIGNATURE], char signer[ADDRESS_TEXT]) {
    Text whole = {.size = 0};
    char prefix[48];
    unsigned char hash[32], point[POINT];
    uint64_t parsed[(POINT + 7) / 8 + 1], key[8 + 1];
    size_t point_size = POINT;
    int parity = signature[64] - 27;

    if ((parity != 0 && parity != 1) || memcmp(signature + 32, HALF_ORDER, 32) > 0) return 0;
    PyOS_snprintf(prefix, sizeof prefix, "\x19" "Ethereum Signed Message:\n%zu", text->size);
    add(&whole, prefix, strlen(prefix));
    add(&whole, text->bytes, text->size);
    if (text->full || whole.full) return 0;
    keccak_256((const unsigned char *)whole.bytes, whole.size, hash);
    if (!self->parse_compact(self->context, parsed, signature, parity) ||
        !self->recover(self->context, key, parsed, hash) ||
        !self->serialize(self->context, point, &point_size, key, UNCOMPRESSED) ||
        point_size != POINT)
        return 0;
    keccak_256(point + 1, POINT - 1, hash);
    signer[0] = '0';
    signer[1] = 'x';
    for (int i = 0; i < ADDRESS_DIGITS / 2; i++) {
        signer[2 + 2 * i] = HEX[hash[12 + i] >> 4];
        signer[3 + 2 * i] = HEX[hash[12 + i] & 15];
    }
    return 1;
}

/* ---- BetReader ---- */

enum { SIGNED_FIELDS = 10 };

/* A tuple of the form's own type; its items are taken over, and given up if one is missing. */
static PyObject *made(PyTypeObject *form, PyObject *items[], Py_ssize_t count) {
    PyObject *tuple = form->tp_alloc(form, count);
    int whole = tuple != NULL;
    for (Py_ssize_t i = 0; i < count; i++) whole = whole && items[i] != NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (whole) PyTuple_SET_ITEM(tuple, i, items[i]);
        else Py_XDECREF(items[i]);
    }
    if (whole) return tuple;
    Py_XDECREF(tuple);
    return NULL;
}

static PyObject *ascii(const char *text, Py_ssize_t size) {
    return PyUnicode_DecodeASCII(text, size, NULL);
}

static PyObject *BetReader_read(BetReader *self, PyObject *body) {
    Fields fields;
    Text text = {.size = 0};
    char wallet[ADDRESS_TEXT], nonce[NONCE_DIGITS], signer[ADDRESS_TEXT];
    unsigned char signature[SIGNATURE];
    int64_t cell[3];

    if (!PyBytes_Check(body)) {
        PyErr_SetString(PyExc_TypeError, "a body is bytes");
        return NULL;
    }
    Scan scan = {PyBytes_AS_STRING(body), PyBytes_AS_STRING(body) + PyBytes_GET_SIZE(body)};
    if (size_of(scan) > BODY_MAX || !take_fields(scan, &fields) ||
        !read_address(fields.wallet, wallet) || !read_cell(fields.cell_id, cell) ||
        !read_signature(fields.signature, signature) || !read_nonce(fields.nonce, nonce) ||
        fields.chain_value != self->chain)
        Py_RETURN_NONE;
    add_signed_text(self, &fields, wallet, &text);
    if (!recover_signer(self, &text, signature, signer)) Py_RETURN_NONE;

    PyObject *items[SIGNED_FIELDS];
    items[0] = ascii(wallet, ADDRESS_TEXT);
    items[1] = PyLong_FromLongLong(cell[0]);
    items[2] = PyLong_FromLongLong(cell[1]);
    items[3] = PyLong_FromLongLong(cell[2]);
    items[4] = PyLong_FromLongLong(fields.stake_micros_value);
    items[5] = PyLong_FromLongLong(fields.min_rate_bps_value);
    items[6] = ascii(nonce, NONCE_DIGITS);
    items[7] = PyLong_FromLongLong(fields.timestamp_value);
    items[8] = PyBytes_FromStringAndSize((const char *)signature, SIGNATURE);
    if (memcmp(signer, wallet, ADDRESS_TEXT) == 0 && items[0] != NULL)
        items[9] = Py_NewRef(items[0]);
    else
        items[9] = ascii(signer, ADDRESS_TEXT);
    return made(self->form, items, SIGNED_FIELDS);
}

static int has_fields(PyTypeObject *form, Py_ssize_t count) {
    PyObject *fields = PyObject_GetAttrString((PyObject *)form, "_fields");
    Py_ssize_t found = fields == NULL ? -1 : PyObject_Length(fields);
    Py_XDECREF(fields);
    if (found == count) return 1;
    PyErr_Format(PyExc_TypeError, "a form has %zd fields", count);
    return 0;
}

static PyObject *BetReader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"form",    "head",          "tail",    "chain_id", "context",
                            "parse_compact", "recover", "serialize", NULL};
    PyTypeObject *form;
    const char *head, *tail;
    Py_ssize_t head_size, tail_size;
    long long chain;
    unsigned long long context, parse_compact, recover, serialize;
    BetReader *self;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!y#y#LKKKK", names, &PyType_Type, &form, &head,
                                     &head_size, &tail, &tail_size, &chain, &context,
                                     &parse_compact, &recover, &serialize))
        return NULL;
    if (!PyType_IsSubtype(form, &PyTuple_Type)) {
        PyErr_SetString(PyExc_TypeError, "a form is a named tuple");
        return NULL;
    }
    if (!has_fields(form, SIGNED_FIELDS)) return NULL;
    if (head_size > (Py_ssize_t)sizeof self->head || tail_size > (Py_ssize_t)sizeof self->tail ||
        chain < 0 || !context || !parse_compact || !recover || !serialize) {
        PyErr_SetString(PyExc_ValueError, "too long, negative or null");
        return NULL;
    }
    self = (BetReader *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->form = (PyTypeObject *)Py_NewRef(form);
    memcpy(self->head, head, (size_t)head_size);
    memcpy(self->tail, tail, (size_t)tail_size);
    self->head_size = head_size;
    self->tail_size = tail_size;
    self->chain = chain;
    self->context = (const void *)(uintptr_t)context;
    self->parse_compact = (ParseCompact)(uintptr_t)parse_compact;
    self->recover = (Recover)(uintptr_t)recover;
    self->serialize = (Serialize)(uintptr_t)serialize;
    return (PyObject *)self;
}

static void BetReader_dealloc(BetReader *self) {
    Py_XDECREF(self->form);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef BetReader_methods[] = {
    {"read", (PyCFunction)BetReader_read, METH_O, "The signed bet in a body, or None."},
    {NULL, NULL, 0, NULL}};

static PyTypeObject BetReader_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "taptrading.native._fast.BetReader",
    .tp_basicsize = sizeof(BetReader),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = BetReader_new,
    .tp_dealloc = (destructor)BetReader_dealloc,
    .tp_methods = BetReader_methods,
};

/* ---- A whole HTTP request in one piece ---- */

enum { PATH_MAX_BYTES = 64, LENGTH_DIGITS = 5 };

static int is_token(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

/* `lower` is in lower case. */
static int is_name(Scan name, const char *lower) {
    if ((size_t)size_of(name) != strlen(lower)) return 0;
    for (; name.at < name.end; name.at++, lower++) {
        char c = *name.at;
        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != *lower) return 0;
    }
    return 1;
}

static int take_word(Scan *scan, const char *word) {
    size_t size = strlen(word);
    if ((size_t)size_of(*scan) < size || memcmp(scan->at, word, size) != 0) return 0;
    scan->at += size;
    return 1;
}

static int take_path(Scan *scan, Scan *path) {
    path->at = scan->at;
    if (!is_next(scan, '/')) return 0;
    while (scan->at < scan->end && (is_token(*scan->at) || *scan->at == '/')) scan->at++;
    path->end = scan->at;
    return size_of(*path) <= PATH_MAX_BYTES;
}

/* `Name: value` and the end of the line; the value of printable ASCII, no blanks around it. */
static int take_header(Scan *scan, Scan *name, Scan *value) {
    name->at = scan->at;
    while (scan->at < scan->end && is_token(*scan->at)) scan->at++;
    name->end = scan->at;
    if (size_of(*name) == 0 || !take(scan, ':')) return 0;
    while (is_next(scan, ' ')) scan->at++;
    value->at = scan->at;
    while (scan->at < scan->end && *scan->at >= 0x20 && *scan->at <= 0x7e) scan->at++;
    value->end = scan->at;
    if (size_of(*value) == 0 || value->end[-1] == ' ') return 0;
    return take_word(scan, "\r\n");
}

typedef struct {
    int64_t length;
    Scan id;
} Head;

/* 0 where the header makes the request one that is not plain, or stands twice. */
static int note_header(Head *head, Scan name, Scan value) {
    static const char *const OTHER_WAYS[] = {"transfer-encoding", "expect", "upgrade", "trailer",
                                             "te", "proxy-connection", "http2-settings"};
    if (is_name(name, "content-length")) {
        Scan digits = value;
        if (head->length >= 0 || size_of(value) > LENGTH_DIGITS) return 0;
        return take_number(&digits, &head->length) && digits.at == digits.end;
    }
    if (is_name(name, "x-request-id")) {
        if (head->id.at != NULL) return 0;
        head->id = value;
        return 1;
    }
    if (is_name(name, "connection")) return is_name(value, "keep-alive");
    for (size_t i = 0; i < sizeof OTHER_WAYS / sizeof *OTHER_WAYS; i++)
        if (is_name(name, OTHER_WAYS[i])) return 0;
    return 1;
}

static PyObject *piece(Scan scan) {
    return PyBytes_FromStringAndSize(scan.at, scan.at == NULL ? 0 : size_of(scan));
}

static PyObject *read_request(PyObject *Py_UNUSED(module), PyObject *data) {
    Head head = {-1, {NULL, NULL}};
    Scan path, name, value;

    if (!PyBytes_Check(data)) Py_RETURN_NONE;
    Scan scan = {PyBytes_AS_STRING(data), PyBytes_AS_STRING(data) + PyBytes_GET_SIZE(data)};
    if (!take_word(&scan, "POST ") || !take_path(&scan, &path) || !take_word(&scan, " HTTP/1.1\r\n"))
        Py_RETURN_NONE;
    while (!is_next(&scan, '\r'))
        if (!take_header(&scan, &name, &value) || !note_header(&head, name, value)) Py_RETURN_NONE;
    if (!take_word(&scan, "\r\n") || head.length < 1 || head.length > BODY_MAX ||
        size_of(scan) != head.length)
        Py_RETURN_NONE;
    PyObject *items[3] = {piece(path), piece(head.id), piece(scan)};
    return made(&PyTuple_Type, items, 3);
}

/* ---- The module ---- */

static PyObject *keccak(PyObject *Py_UNUSED(module), PyObject *data) {
    unsigned char digest[32];
    if (!PyBytes_Check(data)) {
        PyErr_SetString(PyExc_TypeError, "bytes are hashed");
        return NULL;
    }
    keccak_256((const unsigned char *)PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data), digest);
    return PyBytes_FromStringAndSize((const char *)digest, sizeof digest);
}

static PyMethodDef functions[] = {
    {"read_request", read_request, METH_O, "Path, id and body of a plain whole POST, or None."},
    {"keccak_256", keccak, METH_O, "32 bytes."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "taptrading.native._fast",
                                        .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit__fast(void) {
    if (PyType_Ready(&BetReader_type) < 0) return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) return NULL;
    if (PyModule_AddObjectRef(module, "BetReader", (PyObject *)&BetReader_type) < 0 ||
        PyModule_AddStringConstant(module, "SOURCE_SHA256", SOURCE_SHA256) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
