-- What a customer ordered, newest first.
select id, placed_at
from orders where customer_id = {id}
