/* Decompression: whole streams, streams that are cut off, streams that are none, and how much may come out. */
#include <errno.h>
#include <string.h>

#include "drivers/http/inflate.h"
#include "tests/unit/async/async_fixture.h"

static char sample[5000], packed[8192];
static size_t packed_len;

/* wrapping: deflateInit2's windowBits; 31 is gzip, 15 zlib. */
static void pack(int wrapping)
{
	z_stream z = {0};
	for (size_t i = 0; i < sizeof(sample); i++)
		sample[i] = (char)('a' + (i * i) % 23);
	ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, wrapping, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (Bytef *)sample;
	z.avail_in = sizeof(sample);
	z.next_out = (Bytef *)packed;
	z.avail_out = sizeof(packed);
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	packed_len = z.total_out;
	deflateEnd(&z);
}

/* Feed len bytes of packed in pieces; returns 0, 1 (cut off) or -errno. */
static int unpack(const char *coding, size_t len, size_t piece, struct buf *out, size_t max)
{
	struct inflater i = {0};
	int r = inflater_begin(&i, coding, strlen(coding));
	for (size_t at = 0; at < len && r == 0; at += piece)
		r = inflater_feed(&i, packed + at, len - at < piece ? len - at : piece, out, max);
	if (r == 0 && !inflater_whole(&i))
		r = 1;
	inflater_end(&i);
	return r;
}

START_TEST(whole)
{
	static const size_t pieces[] = {1, 7, 100, sizeof(packed)};
	static const int wrappings[] = {31, 15, -15};
	pack(wrappings[_i]);
	for (size_t k = 0; k < ARRAY_SIZE(pieces); k++) {
		struct buf out = BUF_INIT;
		ck_assert_int_eq(unpack(_i ? " deflate\r\n" : " GZIP\r\n", packed_len, pieces[k], &out, sizeof(sample)),
				 0);
		ck_assert_uint_eq(out.len, sizeof(sample));
		ck_assert_mem_eq(out.data, sample, sizeof(sample));
		buf_done(&out);
	}
}
END_TEST

START_TEST(cut_anywhere)
{
	pack(31);
	for (size_t len = 1; len < packed_len; len++) {
		struct buf out = BUF_INIT;
		ck_assert_int_eq(unpack("gzip", len, sizeof(packed), &out, sizeof(sample)), 1);
		buf_done(&out);
	}
}
END_TEST

START_TEST(members_and_what_is_none)
{
	struct buf out = BUF_INIT;
	pack(31);
	memcpy(packed + packed_len, packed, packed_len);
	ck_assert_int_eq(unpack("gzip", packed_len * 2, 100, &out, 2 * sizeof(sample)), 0);
	ck_assert_uint_eq(out.len, 2 * sizeof(sample));
	packed[packed_len] = 'x';
	ck_assert_int_eq(unpack("gzip", packed_len + 1, 100, &out, 9 * sizeof(sample)), 1);
	memset(packed + packed_len, 'x', 20);
	ck_assert_int_eq(unpack("gzip", packed_len + 20, 100, &out, 9 * sizeof(sample)), -EBADMSG);
	packed[packed_len / 2] ^= 1;
	ck_assert_int_eq(unpack("gzip", packed_len, 100, &out, 9 * sizeof(sample)), -EBADMSG);
	buf_done(&out);
}
END_TEST

/* Without a wrapping: cut anywhere, followed by something, no stream at all. */
START_TEST(bare)
{
	static const size_t pieces[] = {1, sizeof(packed)};
	pack(-15);
	for (size_t k = 0; k < ARRAY_SIZE(pieces); k++) {
		for (size_t len = 1; len < packed_len; len++) {
			struct buf out = BUF_INIT;
			ck_assert_int_eq(unpack("deflate", len, pieces[k], &out, sizeof(sample)), 1);
			buf_done(&out);
		}
		struct buf out = BUF_INIT;
		packed[packed_len] = 'x';
		ck_assert_int_eq(unpack("deflate", packed_len + 1, pieces[k], &out, 9 * sizeof(sample)), -EBADMSG);
		out.len = 0;
		memset(packed, 0xff, 10);
		ck_assert_int_eq(unpack("deflate", 10, pieces[k], &out, sizeof(sample)), -EBADMSG);
		ck_assert_int_eq(unpack("gzip", 10, pieces[k], &out, sizeof(sample)), -EBADMSG);
		buf_done(&out);
		pack(-15);
	}
	/* An empty stream of two bytes. */
	struct buf out = BUF_INIT;
	memcpy(packed, "\3\0", 2);
	ck_assert_int_eq(unpack("deflate", 2, 1, &out, 10), 0);
	ck_assert_uint_eq(out.len, 0);
	buf_done(&out);
}
END_TEST

START_TEST(bounded)
{
	for (size_t max = 0; max < sizeof(sample); max += 499) {
		struct buf out = BUF_INIT;
		pack(31);
		ck_assert_int_eq(unpack("gzip", packed_len, 64, &out, max), -EMSGSIZE);
		ck_assert_uint_le(out.len, max + 1);
		buf_done(&out);
	}
}
END_TEST

START_TEST(codings)
{
	struct buf out = BUF_INIT;
	ck_assert_int_eq(unpack("br", 0, 1, &out, 10), -EOPNOTSUPP);
	ck_assert_int_eq(unpack("gzip, gzip", 0, 1, &out, 10), -EOPNOTSUPP);
	ck_assert_int_eq(unpack("identity", 0, 1, &out, 10), 0);
	ck_assert_int_eq(unpack("gzip", 0, 1, &out, 10), 0); /* the answer to a HEAD */
	buf_done(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("inflate");
	TCase *c = async_tcase(s, "inflate");
	tcase_add_loop_test(c, whole, 0, 3);
	tcase_add_test(c, bare);
	tcase_add_test(c, cut_anywhere);
	tcase_add_test(c, members_and_what_is_none);
	tcase_add_test(c, bounded);
	tcase_add_test(c, codings);
	return run_suite(s);
}
