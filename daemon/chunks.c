/* The framing of a chunked body, byte by byte but for the data. */
#include "daemon/chunks.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/token.h"

enum state {
	SIZE,          /* the digits of a size */
	NAME_BEGIN,    /* an extension begins */
	NAME,          /* in its name */
	VALUE_BEGIN,   /* after its "=" */
	VALUE,         /* in its value, a token */
	QUOTED,        /* in its value, between quotes */
	QUOTED_PAIR,   /* after a backslash there */
	EXTENSION_END, /* after the quotes */
	LINE_FEED,     /* of the chunk line */
	DATA,          /* of the chunk */
	DATA_RETURN,   /* what follows it */
	DATA_FEED,
	TRAILER,       /* a line of the trailers begins, or the last line */
	TRAILER_NAME,  /* in its name */
	TRAILER_VALUE, /* after its colon */
	TRAILER_FEED,  /* its end */
	LAST_FEED,
	END,
};

enum { MAX_DIGITS = 15 }; /* what is larger is larger than any body_limit */

/* Whoever believed these would read the body in another way. */
static const char *const framing[] = {"content-length", "transfer-encoding"};

void chunks_init(struct chunks *c)
{
	*c = (struct chunks){.state = SIZE};
}

static int refuse(struct chunks *c, enum reason why)
{
	c->why = why;
	return reason_status(why);
}

static int hex_digit(unsigned char byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	byte |= 0x20;
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* May it stand in a quoted string or in a trailer's value? */
static bool is_text(unsigned char byte)
{
	return (byte >= ' ' && byte != 0x7f) || byte == '\t';
}

static int read_digit(struct chunks *c, unsigned char byte)
{
	int digit = hex_digit(byte);
	if (digit >= 0) {
		if (++c->digits > MAX_DIGITS)
			return refuse(c, REASON_CHUNK_LARGE);
		c->left = c->left << 4 | (unsigned)digit;
		return 0;
	}
	if (c->digits == 0)
		return refuse(c, REASON_CHUNK_NO_SIZE);
	if (byte != '\r' && byte != ';')
		return refuse(c, REASON_CHUNK_SIZE);
	c->state = byte == ';' ? NAME_BEGIN : LINE_FEED;
	return 0;
}

/* The states that byte leads to from within an extension; -1: it may not stand there. RFC 9112, 7.1.1, without the
 * blanks that it calls bad. */
static int after_extension_byte(unsigned state, unsigned char byte)
{
	const int end = byte == ';' ? NAME_BEGIN : byte == '\r' ? LINE_FEED : -1;
	switch (state) {
	case NAME_BEGIN:
		return is_token_byte(byte) ? NAME : -1;
	case NAME:
		return is_token_byte(byte) ? NAME : byte == '=' ? VALUE_BEGIN : end;
	case VALUE_BEGIN:
		return is_token_byte(byte) ? VALUE : byte == '"' ? QUOTED : -1;
	case VALUE:
		return is_token_byte(byte) ? VALUE : end;
	case QUOTED:
		return byte == '"' ? EXTENSION_END : byte == '\\' ? QUOTED_PAIR : is_text(byte) ? QUOTED : -1;
	case QUOTED_PAIR:
		return is_text(byte) ? QUOTED : -1;
	default:
		return end;
	}
}

/* One byte of a chunk line. Returns 0 or a status. */
static int read_size_byte(struct chunks *c, unsigned char byte)
{
	if (++c->line > CHUNKS_MAX_LINE_BYTES)
		return refuse(c, REASON_CHUNK_LINE_LONG);
	if (c->state == SIZE)
		return read_digit(c, byte);
	int next = after_extension_byte(c->state, byte);
	if (next < 0)
		return refuse(c, REASON_CHUNK_EXTENSION);
	c->state = (unsigned)next;
	return 0;
}

/* Keep the first bytes of a trailer's name, in lower case. */
static void keep_name(struct chunks *c, unsigned char byte)
{
	if (c->name_len < sizeof(c->name))
		c->name[c->name_len] = (char)(byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte);
	c->name_len++;
}

static bool is_framing(const struct chunks *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(framing); i++)
		if (c->name_len == strlen(framing[i]) && memcmp(c->name, framing[i], c->name_len) == 0)
			return true;
	return false;
}

static int read_trailer_name(struct chunks *c, unsigned char byte)
{
	if (is_token_byte(byte)) {
		keep_name(c, byte);
		c->state = TRAILER_NAME;
		return 0;
	}
	if (c->state == TRAILER && byte == '\r') {
		c->state = LAST_FEED;
		return 0;
	}
	if (c->state == TRAILER || byte != ':')
		return refuse(c, REASON_TRAILER_NAME);
	if (is_framing(c))
		return refuse(c, REASON_TRAILER_LENGTH);
	c->state = TRAILER_VALUE;
	return 0;
}

/* One byte of the trailers. The same. */
static int read_trailer_byte(struct chunks *c, unsigned char byte)
{
	if (++c->line > CHUNKS_MAX_TRAILER_BYTES)
		return refuse(c, REASON_TRAILERS_LARGE);
	if (c->state != TRAILER_VALUE)
		return read_trailer_name(c, byte);
	if (byte == '\r')
		c->state = TRAILER_FEED;
	else if (!is_text(byte))
		return refuse(c, REASON_TRAILER_CONTROL);
	return 0;
}

/* What follows a CR, or a chunk's data: that and nothing else. */
static int read_line_end(struct chunks *c, unsigned char byte)
{
	c->line++;
	if (byte != (c->state == DATA_RETURN ? '\r' : '\n'))
		return refuse(c, REASON_CHUNK_LINE_END);
	switch (c->state) {
	case LINE_FEED:
		c->line = 0;
		c->state = c->left ? DATA : TRAILER;
		break;
	case DATA_RETURN:
		c->state = DATA_FEED;
		break;
	case DATA_FEED:
		c->digits = 0;
		c->state = SIZE;
		break;
	case TRAILER_FEED:
		c->name_len = 0;
		c->state = TRAILER;
		break;
	default:
		c->state = END;
	}
	return 0;
}

int chunks_read(struct chunks *c, const char *p, size_t len)
{
	const char *end = p + len;
	int r = 0;

	while (p < end && r == 0 && c->state != END) {
		switch (c->state) {
		case SIZE:
		case NAME_BEGIN:
		case NAME:
		case VALUE_BEGIN:
		case VALUE:
		case QUOTED:
		case QUOTED_PAIR:
		case EXTENSION_END:
			r = read_size_byte(c, (unsigned char)*p++);
			break;
		case DATA: {
			size_t n = (uint64_t)(end - p) < c->left ? (size_t)(end - p) : (size_t)c->left;
			p += n;
			c->left -= n;
			c->state = c->left ? DATA : DATA_RETURN;
			break;
		}
		case TRAILER:
		case TRAILER_NAME:
		case TRAILER_VALUE:
			r = read_trailer_byte(c, (unsigned char)*p++);
			break;
		default:
			r = read_line_end(c, (unsigned char)*p++);
		}
	}
	return r ? r : c->state == END ? 0 : -EAGAIN;
}
