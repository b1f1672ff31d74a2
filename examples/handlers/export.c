/* A table as CSV, row by row: however many rows there are, a few of them are in memory, and a slow client slows the
 * reading down. */
#include <gatherd.h>

int export(gd_request *req)
{
	gd_cursor *rows = gd_pg_stream("shop", "select id, name from customers order by id", NULL);
	gd_value *row = gd_next(rows);
	if (gd_failed(row) && row)
		return gd_fail_with(row);
	int r = gd_stream_begin(req, 200, "text/csv; charset=utf-8");
	if (r == 0)
		r = gd_stream_printf(req, "id,name\r\n");
	for (; r == 0 && row && !gd_failed(row); row = gd_next(rows))
		r = gd_stream_printf(req, "%s,\"%s\"\r\n", gd_to_text(gd_get(row, "id")),
				     gd_to_text(gd_get(row, "name")));
	if (r == 0 && row)
		r = gd_fail_with(row);
	return r < 0 ? r : gd_stream_end(req);
}
