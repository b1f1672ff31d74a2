/* The framing of a chunked body, byte by byte but for the data. */
#include "daemon/chunks.h"

#include <errno.h>
#include <stdbool.h>

enum state {
	SIZE,        /* the digits of a size */
	SIZE_BLANKS, /* behind them: an extension or the line's end */
	EXTENSION,   /* up to the line's end */
	LINE_FEED,   /* of the chunk line */
	DATA,        /* of the chunk */
	DATA_RETURN, /* what follows it */
	DATA_FEED,
	TRAILER,      /* a line of the trailers begins, or the last line */
	TRAILER_LINE, /* in it */
	TRAILER_FEED, /* its end */
	LAST_FEED,
	END,
};

enum { MAX_DIGITS = 15 }; /* what is larger is larger than any body_limit */

void chunks_init(struct chunks *c)
{
	*c = (struct chunks){.state = SIZE};
}

static int refuse(struct chunks *c, int status, const char *why)
{
	c->why = why;
	return status;
}

static int hex_digit(unsigned char byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	byte |= 0x20;
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static bool is_blank(unsigned char byte)
{
	return byte == ' ' || byte == '\t';
}

/* May it stand in an extension or a trailer? */
static bool is_text(unsigned char byte)
{
	return (byte >= ' ' && byte != 0x7f) || byte == '\t';
}

/* One byte of a chunk line. Returns 0 or a status. */
static int read_size_byte(struct chunks *c, unsigned char byte)
{
	int digit = c->state == SIZE ? hex_digit(byte) : -1;
	if (++c->line > CHUNKS_MAX_LINE_BYTES)
		return refuse(c, 400, "a chunk's line is longer than 1 KiB");
	if (digit >= 0) {
		if (++c->digits > MAX_DIGITS)
			return refuse(c, 413, "a chunk whose size has more than 15 digits");
		c->left = c->left << 4 | (unsigned)digit;
	} else if (c->digits == 0) {
		return refuse(c, 400, "a chunk without a size");
	} else if (byte == '\r') {
		c->state = LINE_FEED;
	} else if (c->state != EXTENSION && (byte == ';' || is_blank(byte))) {
		c->state = byte == ';' ? EXTENSION : SIZE_BLANKS;
	} else if (c->state != EXTENSION || !is_text(byte)) {
		return refuse(c, 400, "a chunk's size is followed by something else");
	}
	return 0;
}

/* One byte of the trailers. The same. */
static int read_trailer_byte(struct chunks *c, unsigned char byte)
{
	if (++c->line > CHUNKS_MAX_TRAILER_BYTES)
		return refuse(c, 431, "more than 16 KiB of trailers");
	if (byte == '\r')
		c->state = c->state == TRAILER ? LAST_FEED : TRAILER_FEED;
	else if (!is_text(byte) || (c->state == TRAILER && is_blank(byte)))
		return refuse(c, 400, "a trailer that is none");
	else
		c->state = TRAILER_LINE;
	return 0;
}

/* What follows a CR, or a chunk's data: that and nothing else. */
static int read_line_end(struct chunks *c, unsigned char byte)
{
	c->line++;
	if (byte != (c->state == DATA_RETURN ? '\r' : '\n'))
		return refuse(c, 400, "in a chunked body, a line that does not end with CR LF");
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
		case SIZE_BLANKS:
		case EXTENSION:
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
		case TRAILER_LINE:
			r = read_trailer_byte(c, (unsigned char)*p++);
			break;
		default:
			r = read_line_end(c, (unsigned char)*p++);
		}
	}
	return r ? r : c->state == END ? 0 : -EAGAIN;
}
