/* Tags of texts. */
#include "base/etag.h"

#include <openssl/evp.h>
#include <stdbool.h>

#define MAX_PLAIN 128 /* bytes of a text that is a tag as it is */

/* Only what is visible in ASCII stands in our tags, though others may hold more. */
static bool is_plain(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] <= ' ' || text[i] > '~' || text[i] == '"')
			return false;
	}
	return len <= MAX_PLAIN;
}

void etag_append_hash(struct buf *out, const char *text, size_t len)
{
	enum { HALF = 16, DIGITS = 22, ROOM = 25 };
	unsigned char digest[EVP_MAX_MD_SIZE], base64[ROOM];
	unsigned n = 0;

	EVP_Digest(text, len, digest, &n, EVP_sha256(), NULL);
	EVP_EncodeBlock(base64, digest, HALF);
	for (unsigned i = 0; i < DIGITS; i++)
		buf_char(out, (char)(base64[i] == '+' ? '-' : base64[i] == '/' ? '_' : base64[i]));
}

void etag_append(struct buf *out, const char *text, size_t len)
{
	if (is_plain(text, len))
		buf_append(out, text, len);
	else
		etag_append_hash(out, text, len);
}
