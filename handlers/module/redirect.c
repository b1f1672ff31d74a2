/* Replies that send the client elsewhere. */
#include <errno.h>
#include <stddef.h>

#include "handlers/module/internal.h"

int gd_reply_redirect(gd_request *req, int status, const char *location)
{
	if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308)
		return -EINVAL;
	int r = gd_reply_header(req, "Location", location);
	return r < 0 ? r : gd_reply_bytes(req, status, "text/plain; charset=utf-8", NULL, 0);
}
