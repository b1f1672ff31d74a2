/* Where the bytes of a message are (all numbers little-endian):
 *    0 length of all, 4 its number, 8 the number that it answers, 12 opcode
 *   16 OP_MSG:   flags, 20 the kind of its only section, 21 the document
 *   16 OP_REPLY: flags, 20 cursor, 28 where it starts, 32 how many documents, 36 the document */
#include "drivers/mongo/wire/frame.h"

#include <bson/bson.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum {
	OP_REPLY = 1,
	OP_MSG = 2013,
	HEADER = 16,
	MESSAGE_DOCUMENT = 21,
	REPLY_DOCUMENT = 36,
	LENGTH = 4,
	MIN_DOCUMENT = 5,
	MAX_PIECES = 1 << 20,    /* bytes of a message in pieces: a hello has a thousand or two */
	REQUIRED_FLAGS = 0xffff, /* of OP_MSG: none of them is asked for */
};

static uint32_t number_at(const struct mongo_frame *f, size_t at)
{
	const uint8_t *p = f->head + at;

	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static size_t min_of(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Take what is missing of the first `wanted` bytes. Returns how many bytes were taken. */
static size_t take_head(struct mongo_frame *f, size_t wanted, const uint8_t *data, size_t len)
{
	size_t n = min_of(wanted - f->at, len);

	memcpy(f->head + f->at, data, n);
	f->at += n;
	return n;
}

/* Let the rest of the message pass. */
static size_t pass(struct mongo_frame *f, const uint8_t *data, size_t len)
{
	size_t n = min_of(f->length - f->at, len);

	f->at += n;
	f->last = data[n - 1];
	return n;
}

void mongo_frames_sent(struct mongo_frames *f, const void *data, size_t len)
{
	struct mongo_frame *sent = &f->sent;

	for (const uint8_t *p = data; len > 0;) {
		size_t n = sent->at < HEADER ? take_head(sent, HEADER, p, len) : pass(sent, p, len);
		if (sent->at == HEADER) {
			sent->length = number_at(sent, 0);
			f->asked = number_at(sent, 4);
		}
		if (sent->at >= HEADER && sent->at >= sent->length)
			sent->at = 0;
		p += n;
		len -= n;
	}
}

/* Where its document begins; 0: it is none that may have one. */
static size_t document_at(const struct mongo_frame *f)
{
	switch (number_at(f, 12)) {
	case OP_MSG:
		return MESSAGE_DOCUMENT;
	case OP_REPLY:
		return REPLY_DOCUMENT;
	default:
		return 0;
	}
}

static bool header_is_sound(struct mongo_frame *f, uint32_t asked)
{
	size_t document = document_at(f);

	f->length = number_at(f, 0);
	return document && f->length >= document + MIN_DOCUMENT && number_at(f, 8) == asked;
}

static bool body_is_sound(const struct mongo_frame *f)
{
	size_t document = document_at(f);

	if (document == MESSAGE_DOCUMENT && ((number_at(f, 16) & REQUIRED_FLAGS) || f->head[20] != 0))
		return false;
	if (document == REPLY_DOCUMENT && number_at(f, 32) != 1)
		return false;
	return number_at(f, document) == f->length - document;
}

/* Returns how many bytes were taken, 0: the message is unsound. */
static size_t receive(struct mongo_frame *f, uint32_t asked, const uint8_t *data, size_t len)
{
	if (f->at < HEADER) {
		size_t n = take_head(f, HEADER, data, len);
		return f->at < HEADER || header_is_sound(f, asked) ? n : 0;
	}
	size_t head = document_at(f) + LENGTH;
	if (f->at < head) {
		size_t n = take_head(f, head, data, len);
		return f->at < head || body_is_sound(f) ? n : 0;
	}
	size_t n = pass(f, data, len);
	if (f->at < f->length)
		return n;
	f->at = 0;
	return f->last == 0 ? n : 0; /* a document ends with a 0 */
}

/* Members of an answer whose types libmongoc takes for granted. */
static const struct member {
	const char *name;
	bson_type_t type;
	bool of_texts;
} members[] = {
	{"$clusterTime", BSON_TYPE_DOCUMENT, false},
	{"arbiters", BSON_TYPE_ARRAY, true},
	{"compression", BSON_TYPE_ARRAY, true},
	{"errorLabels", BSON_TYPE_ARRAY, true},
	{"hosts", BSON_TYPE_ARRAY, true},
	{"passives", BSON_TYPE_ARRAY, true},
	{"saslSupportedMechs", BSON_TYPE_ARRAY, true},
	{"speculativeAuthenticate", BSON_TYPE_DOCUMENT, false},
	{"tags", BSON_TYPE_DOCUMENT, true},
	{"writeConcernError", BSON_TYPE_DOCUMENT, false},
};

static const struct member *member_of(const bson_iter_t *i)
{
	for (size_t k = 0; k < ARRAY_SIZE(members); k++)
		if (strcmp(bson_iter_key(i), members[k].name) == 0)
			return &members[k];
	return NULL;
}

static bool is_code_of_0(const bson_iter_t *i)
{
	return strcmp(bson_iter_key(i), "code") == 0 && BSON_ITER_HOLDS_NUMBER(i) &&
	       (uint32_t)bson_iter_as_int64(i) == 0;
}

/* It ends where it says: libbson's iterators look only where it begins. */
static bool inner_is_sound(const bson_iter_t *i, bool of_texts)
{
	const uint8_t *data = NULL;
	uint32_t len = 0;
	bson_iter_t inner;

	if (BSON_ITER_HOLDS_DOCUMENT(i))
		bson_iter_document(i, &len, &data);
	else
		bson_iter_array(i, &len, &data);
	if (len < MIN_DOCUMENT || data[len - 1] != 0 || !bson_iter_recurse(i, &inner))
		return false;
	bool is_error = strcmp(bson_iter_key(i), "writeConcernError") == 0;
	while ((is_error || of_texts) && bson_iter_next(&inner))
		if (is_code_of_0(&inner) || (of_texts && !BSON_ITER_HOLDS_UTF8(&inner)))
			return false;
	return true;
}

static bool says_primary(const bson_iter_t *i)
{
	const char *key = bson_iter_key(i);

	return BSON_ITER_HOLDS_BOOL(i) && bson_iter_bool(i) &&
	       (strcmp(key, "ismaster") == 0 || strcmp(key, "isWritablePrimary") == 0);
}

/* Two levels are all that libmongoc looks at. */
static bool answer_is_sound(struct mongo_frames *f, const uint8_t *document, size_t len)
{
	bson_t answer;
	bson_iter_t i;

	if (!bson_init_static(&answer, document, len) || !bson_iter_init(&i, &answer))
		return false;
	while (bson_iter_next(&i)) {
		const struct member *m = member_of(&i);
		if ((m && bson_iter_type(&i) != m->type) || is_code_of_0(&i))
			return false;
		if ((BSON_ITER_HOLDS_DOCUMENT(&i) || BSON_ITER_HOLDS_ARRAY(&i)) &&
		    !inner_is_sound(&i, m && m->of_texts))
			return false;
		f->primary |= says_primary(&i);
	}
	return i.err_off == 0;
}

/* The part of a message after its length has come as a whole, or its last piece has. */
static bool message_is_sound(struct mongo_frames *f, const uint8_t *rest)
{
	size_t before = document_at(&f->received) - LENGTH;

	return answer_is_sound(f, rest + before, f->received.length - LENGTH - before);
}

int mongo_frames_received(struct mongo_frames *f, const void *data, size_t len)
{
	bool whole = f->received.at == LENGTH && number_at(&f->received, 0) == len + LENGTH;

	for (const uint8_t *p = data; len > 0;) {
		size_t at = f->received.at, n = receive(&f->received, f->asked, p, len);
		if (n == 0)
			return -EPROTO;
		if (!whole && at + n > LENGTH) {
			size_t skipped = at < LENGTH ? LENGTH - at : 0;
			if (f->pieces.len + n > MAX_PIECES)
				return -EPROTO;
			buf_append(&f->pieces, p + skipped, n - skipped);
		}
		p += n;
		len -= n;
		if (f->received.at > 0)
			continue;
		if (!message_is_sound(f, whole ? data : (const uint8_t *)f->pieces.data))
			return -EPROTO;
		f->pieces.len = 0;
	}
	return 0;
}

void mongo_frames_done(struct mongo_frames *f)
{
	buf_done(&f->pieces);
}
