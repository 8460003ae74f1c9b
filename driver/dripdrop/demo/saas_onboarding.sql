-- The onboarding of a pretend SaaS: its users, and what they hear from it in their first fourteen days.
--
-- It needs a default sender for email and one for webhook, which are made once. In psql:
--
--   \set secret `echo '{"secret": "whsec_…"}' | dripdrop seal app`
--   select dripdrop.create_channel_adapter(
--     null, 'app', 'webhook', 'default', :'secret', '{"url": "https://app.example.com/webhooks"}', is_default => true
--   );
--
-- From then on a sign-up is one transaction of the application:
--
--   begin;
--   insert into users (name, email, plan) values ('Ada', 'ada@example.com', 'team') returning id;
--   select dripdrop.enroll(
--     tenant_key => null,
--     sequence => 'saas_onboarding',
--     subscriber_type => 'User',
--     subscriber_id => '1',
--     data => '{"name": "Ada", "email": "ada@example.com", "plan": "team"}'
--   );
--   commit;

create table users (
  id bigint generated always as identity primary key,
  name text not null,
  email text not null unique,
  plan text not null check (plan in ('solo', 'team'))
);

-- Running it again changes nothing; running it with other words or times makes a new version for those who sign up later.
-- select * from dripdrop.plan(…) with the same document shows beforehand what would change.
select version, state
from dripdrop.apply(
  tenant_key => null,
  definition => $json$
    {
      "key": "saas_onboarding",
      "name": "SaaS onboarding",
      "time_zone": "UTC",
      "steps": [
        {
          "key": "welcome",
          "name": "Welcome email",
          "channel": "email",
          "timing": {"type": "immediate"},
          "template": {
            "subject": "Welcome, {{ name }}!",
            "text": "Hi {{ name }},\n\nyour {{ plan }} workspace is ready. Import your first project, it takes two minutes.\n\nThe Acorn team",
            "html": "<p>Hi {{ name }},</p><p>your <b>{{ plan }}</b> workspace is ready. Import your first project, it takes two minutes.</p><p>The Acorn team</p>",
            "headers": {"X-Step": "{{ step_key }}"}
          }
        },
        {
          "key": "welcome_notification",
          "name": "In-app notification",
          "channel": "webhook",
          "timing": {"type": "delay", "delay_amount": 5, "delay_unit": "minutes"},
          "template": {
            "type": "notification.created",
            "body": {"step": "{{ step_key }}", "user": "{{ subscriber_id }}", "message": "Have a look at your dashboard, {{ name }}!"}
          }
        },
        {
          "key": "setup_reminder",
          "name": "Setup reminder",
          "channel": "email",
          "timing": {"type": "delay", "delay_amount": 1, "delay_unit": "days"},
          "template": {
            "subject": "Finish your setup in five minutes",
            "text": "Hi {{ name }},\n\n{% if plan == 'team' %}invite your colleagues{% else %}connect your calendar{% endif %}, and your setup is complete.\n\nThe Acorn team",
            "html": "<p>Hi {{ name }},</p><p>{% if plan == 'team' %}invite your colleagues{% else %}connect your calendar{% endif %}, and your setup is complete.</p><p>The Acorn team</p>",
            "headers": {"X-Step": "{{ step_key }}"}
          }
        },
        {
          "key": "weekly_digest",
          "name": "Weekly digest",
          "channel": "email",
          "timing": {"type": "delay", "delay_amount": 6, "delay_unit": "days"},
          "template": {
            "subject": "Your first week, {{ name }}",
            "text": "Hi {{ name }},\n\na week with Acorn! This is what others do next: templates, shortcuts, reports.\n\nThe Acorn team",
            "html": "<p>Hi {{ name }},</p><p>a week with Acorn! This is what others do next:</p><ul><li>templates</li><li>shortcuts</li><li>reports</li></ul><p>The Acorn team</p>",
            "headers": {"X-Step": "{{ step_key }}"}
          }
        },
        {
          "key": "activation",
          "name": "Activation email",
          "channel": "email",
          "timing": {"type": "delay", "delay_amount": 7, "delay_unit": "days"},
          "template": {
            "subject": "{{ name }}, your trial ends tomorrow",
            "text": "Hi {{ name }},\n\nkeep your {{ plan }} workspace: choose how you would like to pay.\n\nThe Acorn team",
            "html": "<p>Hi {{ name }},</p><p>keep your <b>{{ plan }}</b> workspace: choose how you would like to pay.</p><p>The Acorn team</p>",
            "headers": {"X-Step": "{{ step_key }}"}
          }
        },
        {
          "key": "onboarding_finished",
          "name": "Word to the sales team",
          "channel": "webhook",
          "timing": {"type": "immediate"},
          "template": {
            "type": "onboarding.finished",
            "body": {"step": "{{ step_key }}", "user": "{{ subscriber_id }}"}
          }
        }
      ]
    }
  $json$
);
