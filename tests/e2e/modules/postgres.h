/* What the handlers on PostgreSQL share. */
#pragma once

#include <gatherd.h>

/* The source that is asked: the parameter `on`. */
static inline const char *on(gd_request *req)
{
	return gd_to_text(gd_param(req, "on"));
}

/* What became of a call, for a reply: its status, code and text. */
static inline gd_value *outcome(gd_value *v)
{
	return gd_failed(v) ? gd_build("{failed: %d, status: %d, code: %s, text: %s}", gd_failed(v), gd_error_status(v),
				       gd_error_code(v), gd_error_text(v))
			    : v;
}
