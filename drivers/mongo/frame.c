/* Where the bytes of a message are (all numbers little-endian):
 *    0 length of all, 4 its number, 8 the number that it answers, 12 opcode
 *   16 OP_MSG:   flags, 20 the kind of its only section, 21 the document
 *   16 OP_REPLY: flags, 20 cursor, 28 where it starts, 32 how many documents, 36 the document */
#include "drivers/mongo/frame.h"

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
	REQUIRED_FLAGS = 0xffff, /* of OP_MSG: none of them is asked for */
};

static uint32_t number_at(const struct frame *f, size_t at)
{
	const uint8_t *p = f->head + at;

	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static size_t min_of(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Take what is missing of the first `wanted` bytes. Returns how many bytes were taken. */
static size_t take_head(struct frame *f, size_t wanted, const uint8_t *data, size_t len)
{
	size_t n = min_of(wanted - f->at, len);

	memcpy(f->head + f->at, data, n);
	f->at += n;
	return n;
}

/* Let the rest of the message pass. */
static size_t pass(struct frame *f, const uint8_t *data, size_t len)
{
	size_t n = min_of(f->length - f->at, len);

	f->at += n;
	f->last = data[n - 1];
	return n;
}

void frames_sent(struct frames *f, const void *data, size_t len)
{
	struct frame *sent = &f->sent;

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
static size_t document_at(const struct frame *f)
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

static bool header_is_sound(struct frame *f, uint32_t asked)
{
	size_t document = document_at(f);

	f->length = number_at(f, 0);
	return document && f->length >= document + MIN_DOCUMENT && number_at(f, 8) == asked;
}

static bool body_is_sound(const struct frame *f)
{
	size_t document = document_at(f);

	if (document == MESSAGE_DOCUMENT && ((number_at(f, 16) & REQUIRED_FLAGS) || f->head[20] != 0))
		return false;
	if (document == REPLY_DOCUMENT && number_at(f, 32) != 1)
		return false;
	return number_at(f, document) == f->length - document;
}

/* Returns how many bytes were taken, 0: the message is unsound. */
static size_t receive(struct frame *f, uint32_t asked, const uint8_t *data, size_t len)
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

int frames_received(struct frames *f, const void *data, size_t len)
{
	for (const uint8_t *p = data; len > 0;) {
		size_t n = receive(&f->received, f->asked, p, len);
		if (n == 0)
			return -EPROTO;
		p += n;
		len -= n;
	}
	return 0;
}
