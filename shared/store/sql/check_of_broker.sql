/* check_of_broker */
SELECT checked_at, fault FROM checks WHERE check_id = 'emqx-connections'
