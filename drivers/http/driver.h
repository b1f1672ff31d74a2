/* HTTP services as a kind of source. */
#pragma once

#include "drivers/driver.h"

extern const struct driver http_driver;
