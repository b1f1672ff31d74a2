/* Filling a struct error. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static printf_like(5, 0) int fill(struct error *e, int errnum, int status, const char *public_text, const char *format,
				  va_list ap)
{
	if (!e)
		return errnum;
	*e = (struct error){.errnum = errnum, .status = status};
	if (public_text)
		snprintf(e->public, sizeof(e->public), "%s", public_text);
	vsnprintf(e->what, sizeof(e->what), format, ap);
	return errnum;
}

int error_say(struct error *e, int errnum, enum reason m, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fill(e, errnum, reason_status(m), reason_text(m), format, ap);
	va_end(ap);
	return errnum;
}

int error_set(struct error *e, int errnum, int status, const char *public_text, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fill(e, errnum, status, public_text, format, ap);
	va_end(ap);
	return errnum;
}

void error_add_public(struct error *e, const char *sentence)
{
	size_t len = strlen(e->public);
	const char *between = len == 0 ? "" : e->public[len - 1] == '.' ? " " : ". ";

	snprintf(e->public + len, sizeof(e->public) - len, "%s%s", between, sentence);
}

void error_uncertain(struct error *e)
{
	size_t len = strlen(e->what);

	if (e->change == CHANGE_UNKNOWN)
		return;
	e->change = CHANGE_UNKNOWN;
	snprintf(e->what + len, sizeof(e->what) - len, "; the write may or may not have happened");
	error_add_public(e, reason_text(REASON_ALSO_UNKNOWN));
}
