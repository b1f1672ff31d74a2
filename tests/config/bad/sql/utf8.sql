select 1
  from ÿ t
