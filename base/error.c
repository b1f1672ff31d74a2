/* Filling a struct error. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

int error_set(struct error *e, int errnum, int status, const char *public_text, const char *format, ...)
{
	if (!e)
		return errnum;
	*e = (struct error){.errnum = errnum, .status = status};
	if (public_text)
		snprintf(e->public, sizeof(e->public), "%s", public_text);
	va_list ap;
	va_start(ap, format);
	vsnprintf(e->what, sizeof(e->what), format, ap);
	va_end(ap);
	return errnum;
}
