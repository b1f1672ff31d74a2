/* The table of statuses that stand for an errno. */
#include "handlers/module/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"

/* The status of -errno where nobody said more. Everything else is a mistake of the handler's own, -EINVAL and -EPERM
 * among them: 500. -ECANCELED is seen where the daemon drains; if it is the client that left, nobody reads it. */
static const struct {
	int errnum, status;
} statuses[] = {
	{-ENOENT, 404},      {-ETIMEDOUT, 504},    {-ECANCELED, 503},  {-EAGAIN, 503},   {-EBUSY, 503},
	{-ENOBUFS, 503},     {-ECONNREFUSED, 503}, {-ECONNRESET, 503}, {-EPIPE, 503},    {-ENETDOWN, 503},
	{-ENETUNREACH, 503}, {-EHOSTUNREACH, 503}, {-ENOTCONN, 503},   {-EMSGSIZE, 502}, {-EPROTO, 502},
};

void error_of_errno(struct error *e, int errnum)
{
	char text[64];

	if (errnum >= 0)
		errnum = -EINVAL;
	*e = (struct error){.errnum = errnum, .status = 500};
	for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
		if (statuses[i].errnum == errnum)
			e->status = statuses[i].status;
	snprintf(e->what, sizeof(e->what), "%s", strerror_r(-errnum, text, sizeof(text)));
}
