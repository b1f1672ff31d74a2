/* An answer of another service, passed on while it comes: however large it is, a piece of it is in memory, and a slow
 * client slows the service down. */
#include <gatherd.h>

int relay(gd_request *req)
{
	const char *path = gd_http_path("/pages/%s", gd_to_text(gd_param(req, "page")));
	gd_http_stream *answer = gd_http_open("pages", &(gd_http_request){.path = path});
	gd_value *head = gd_http_head(answer);
	if (gd_failed(head))
		return gd_fail_with(head);
	int status = (int)gd_to_int(gd_get(head, "status"), 502);
	int r = gd_stream_begin(req, status, gd_to_text(gd_get(head, "headers.content-type")));
	const void *piece;
	int64_t n = 0;
	while (r == 0 && (n = gd_http_read(answer, &piece)) > 0)
		r = gd_stream_write(req, piece, (size_t)n);
	if (r == 0 && n < 0)
		r = (int)n;
	return r < 0 ? r : gd_stream_end(req);
}
