/* A file as the entry of a folder. */
#include "drivers/files/entry.h"

#include <string.h>
#include <time.h>

#include "base/json_out.h"

bool entry_is_unfinished(const char *name)
{
	return strncmp(name, ENTRY_UNFINISHED, sizeof(ENTRY_UNFINISHED) - 1) == 0;
}

/* As JavaScript writes dates: UTC, milliseconds. */
static void render_time(struct buf *out, const struct timespec *t)
{
	struct tm tm;

	if (!gmtime_r(&t->tv_sec, &tm) || tm.tm_year > 9999 - 1900) {
		json_null(out);
		return;
	}
	buf_printf(out, "\"%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ\"", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
		   tm.tm_hour, tm.tm_min, tm.tm_sec, t->tv_nsec / 1000000);
}

void entry_render(struct buf *out, const char *path, const struct stat *st)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	buf_lit(out, "{\"name\":");
	json_string(out, name, strlen(name));
	if (S_ISREG(st->st_mode))
		buf_printf(out, ",\"size\":%lld", (long long)st->st_size);
	buf_lit(out, ",\"modified\":");
	render_time(out, &st->st_mtim);
	buf_str(out, S_ISREG(st->st_mode) ? ",\"type\":\"file\"}" : ",\"type\":\"folder\"}");
}
