/* A reply that is a file of a source. */
#include <errno.h>
#include <stdlib.h>

#include "drivers/files/driver.h"
#include "drivers/files/file.h"
#include "handlers/module/internal.h"
#include "handlers/module/request.h"
#include "handlers/web/file_reply.h"

struct file_call {
	struct call call;
	const char *path;
	gd_request *req;
	struct conditions conditions;
	struct file *file;
	struct file_info info;
};

/* Suspends; with the source's permit, which is held until the file was sent. */
static int answer(struct call *call)
{
	struct file_call *c = container_of(call, struct file_call, call);
	struct exchange *x = c->req->exchange;
	int r = file_open_at(&c->file, &c->info, call->client, c->path, &call->options,
			     file_reply_ahead(x, &c->conditions), &call->error);
	if (r < 0)
		return r;
	r = request_reply(c->req, 200, "gd_reply_file"); /* another task may have replied meanwhile */
	if (r < 0) {
		file_close(c->file);
		return r;
	}
	r = file_reply_send(x, &c->conditions, &c->file, &c->info, &c->req->reply);
	file_close(c->file);
	if (r < 0)
		call->error = x->error.errnum == r ? x->error : (struct error){.errnum = r};
	call->value = VALUE_OF_NULL;
	return r;
}

int gd_reply_file(gd_request *req, const char *source, const char *path)
{
	gd_value *failed;
	int r = request_check(req, __func__);
	if (r < 0 || !path)
		return r < 0 ? r : -EINVAL;
	if (req->replied)
		return request_reply(req, 200, __func__); /* says so in the log */
	struct file_call *c = call_new(sizeof(*c), __func__, source, &files_driver, &failed);
	if (!c)
		return gd_fail_with(failed);
	c->path = path;
	c->req = req;
	conditions_take(&c->conditions, req->exchange);
	return gd_fail_with(call_start(&c->call, NULL, "gd_reply_file", answer));
}
