-- The same as trial_ending.yaml, as one document: what the command "dripdrop apply" hands over.
-- In psql:
--
--   psql -f trial_ending.sql app
--   select dripdrop.enroll(
--     tenant_key => null,
--     sequence => 'trial_ending',
--     subscriber_type => 'User',
--     subscriber_id => '1',
--     data => '{"email": "ada@example.com", "phone": "+15555550100", "upgrade_url": "https://app.example.com/upgrade"}'
--   );
--   select dripdrop.track_event(null, 'upgraded', subscriber_id => '1');
--
-- Running it again changes nothing; dripdrop.plan() with the same document shows beforehand what a
-- change would do.

select version, state
from dripdrop.apply(
  tenant_key => null,
  definition => $${
    "key": "trial_ending",
    "name": "Trial Ending",
    "reentry": "after_exit",
    "goals": [{"name": "upgraded", "event": "upgraded"}],
    "steps": [
      {
        "key": "email",
        "name": "Trial Ending - Email",
        "channel": "email",
        "timing": "in 13 days",
        "template": {
          "subject": "Trial ends tomorrow",
          "text": "Upgrade to keep access: {{ upgrade_url }}"
        }
      },
      {
        "key": "sms",
        "name": "Trial Ending - SMS",
        "channel": "webhook",
        "conditions": [{"predicate": "exists($.enrollment.phone)"}],
        "template": {
          "type": "sms",
          "body": {
            "to": "{{ phone }}",
            "text": "Your trial ends tomorrow. Upgrade to keep access!"
          }
        }
      },
      {
        "key": "in_app",
        "name": "Trial Ending - In-App",
        "channel": "webhook",
        "template": {
          "type": "notification",
          "body": {
            "topic": "user:{{ subscriber_id }}",
            "event": "alert",
            "payload": {"type": "trial_ending", "days": 1}
          }
        }
      },
      {
        "key": "telegram",
        "name": "Trial Ending - Telegram",
        "channel": "webhook",
        "conditions": [{"predicate": "exists($.enrollment.telegram_chat_id)"}],
        "template": {
          "type": "telegram",
          "body": {
            "chat_id": "{{ telegram_chat_id }}",
            "text": "⚠️ Your trial ends tomorrow! Upgrade now: {{ upgrade_url }}"
          }
        }
      }
    ]
  }$$
);
