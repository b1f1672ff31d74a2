/* The media type of a file by its name. */
#pragma once

/* By the ending of name, whatever its case; application/octet-stream where it says nothing. Text is UTF-8. Static. */
const char *media_type_of(const char *name);
