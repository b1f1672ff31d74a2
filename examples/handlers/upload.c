/* A form with a file: its fields, and the file kept under its name. */
#include <errno.h>
#include <gatherd.h>
#include <string.h>

int upload(gd_request *req)
{
	gd_value *form = gd_body_form(req);
	if (gd_failed(form))
		return gd_fail_with(form);
	gd_value *paper = gd_get(form, "paper");
	const char *name = gd_to_text(gd_get(paper, "filename"));
	if (!name || !*name) /* no such field, or no file was chosen */
		return gd_fail(-EINVAL, 400, "There is no file 'paper' in the form.");
	gd_value *written = gd_write_file(NULL, "papers", name, gd_get(paper, "content"));
	if (gd_failed(written))
		return gd_fail_with(written);
	gd_reply_header(req, "Location", gd_http_path("/papers/%s", name));
	return gd_reply(req, 201, gd_build("{title: %p, size: %p}", gd_get(form, "title"), gd_get(written, "size")));
}

/* The same file again, with ranges and conditions. */
int paper(gd_request *req)
{
	return gd_reply_file(req, "papers", gd_to_text(gd_param(req, "name")));
}
