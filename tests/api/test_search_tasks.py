import pytest

from tests.support.people import assert_problem, assert_refused_field


def found(person, words, **query):
    response = person.call("GET", "/tasks", query_string={"q": words, **query})
    assert response.status_code == 200, response.text
    return sorted(task["title"] for task in response.json["tasks"])


def test_words_are_found_in_title_and_description(alice):
    alice.creates("Buy milk")
    alice.creates("Breakfast", description="cornflakes, milk and coffee")
    alice.creates("Buy bread")

    assert found(alice, "milk") == ["Breakfast", "Buy milk"]
    assert found(alice, "bread") == ["Buy bread"]
    assert found(alice, "cheese") == []


def test_the_beginning_of_a_word_finds_it_in_any_case(alice):
    alice.creates("Buy Milk")
    alice.creates("Buy bread")

    for words in ("m", "mi", "milk", "MILK", "Mil", " milk ", "milk!", "(milk)"):
        assert found(alice, words) == ["Buy Milk"], words


def test_the_middle_of_a_word_does_not_find_it(alice):
    alice.creates("Buy milk", description="buy milk")

    for words in ("ilk", "il", "k", "uy", "milky", "milkbuy", "buymilk"):
        assert found(alice, words) == [], words


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Crème brûlée", "creme BRULEE"),
        ("creme brulee", "CRÈME Brûl"),
        ("Cre\u0300me", "crème"),
        ("Grüße", "grusse"),
        ("GRÜSSE", "grüß"),
        ("Ångström", "angstrom"),
        ("smørrebrød", "Smorrebrod"),
        ("Łódź", "lodz"),
        ("İstanbul", "istanbul"),
        ("ΟΔΟΣ", "οδος"),
        ("Ёлка", "елка"),
        ("ｆｕｌｌ", "full"),
        ("ﬁne", "fin"),
        ("Größe 42", "42 groß"),
        ("sof\u00adtware", "software"),
        ("soft\u200bware", "software"),
        ("می\u200cخواهم", "میخواهم"),
        ("שָׁלוֹם", "שלום"),
    ],
)
def test_case_and_accents_do_not_count(alice, title, words):
    alice.creates(title)
    alice.creates("Something else")

    assert found(alice, words) == [title]


def test_all_words_must_be_there_wherever_and_in_whatever_order(alice):
    alice.creates("Buy milk", description="in the corner shop")
    alice.creates("Buy bread")
    alice.creates("Milk the cow")

    for words in ("milk buy", "shop milk", "corner BUY m", "buy+milk", "shop, corner; milk"):
        assert found(alice, words) == ["Buy milk"]
    assert found(alice, "milk cow shop") == []
    assert found(alice, "buy") == ["Buy bread", "Buy milk"]


def test_a_word_does_not_reach_from_the_title_into_the_description(alice):
    alice.creates("Butter", description="milk")

    assert found(alice, "buttermilk") == []
    assert found(alice, "butter milk") == ["Butter"]


def test_without_a_letter_or_digit_there_is_nothing_to_search_for(alice):
    for words in ("!", "?!…", "%", "%_%", "_", "\\", "'", '"', "--", "—", "' '"):
        response = alice.call("GET", "/tasks", query_string={"q": words})
        assert_refused_field(response, "/query/q", "no_words")


def test_a_blank_search_is_refused(alice):
    for words in ("", " ", "\t\u3000"):
        response = alice.call("GET", "/tasks", query_string={"q": words})
        problem = assert_problem(response, 422, "validation_failed")
        assert [error["pointer"] for error in problem["errors"]] == ["/query/q"]


def test_a_search_has_up_to_two_hundred_characters(alice):
    alice.creates("a " * 200)

    assert found(alice, "a " * 99 + "a") == [("a " * 200).strip()]
    assert len(found(alice, "a" * 200)) == 0
    assert len(found(alice, "語" * 200)) == 0
    for words in ("a" * 201, "語" * 201, "a" + " " * 200):
        response = alice.call("GET", "/tasks", query_string={"q": words})
        assert_refused_field(response, "/query/q", "too_long")


def test_a_nul_character_is_refused(alice):
    assert_refused_field(alice.get("/tasks?q=a%00b"), "/query/q", "forbidden_character")


def test_no_character_stands_for_others(alice):
    alice.creates("Buy milk")

    for words in ("m%k", "m_lk", "b%y", "%ilk", "_ilk", "m\\ilk", "mi'lk", "x' OR '1'='1"):
        assert found(alice, words) == [], words


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("100% wool", "100%"),
        ("snake_case", "snake_case"),
        ("snake_case", "case"),
        ("C:\\temp", "c:\\temp"),
        ("O'Brien", "o'brien"),
        ('the "best"', '"best"'),
        ("{a,b}", "{a,b}"),
        ("50%", "50"),
        ("תל\u05beאביב", "אביב"),
        ("אחד\u05c0שניים", "שניים"),
        ("אחד\u05c3שניים", "שניים"),
        ("אחד\u05c6שניים", "שניים"),
        ("བོད\u0f0bཡིག", "ཡིག"),
    ],
)
def test_signs_between_words_do_no_harm(alice, title, words):
    alice.creates(title)
    alice.creates("Something else")

    assert found(alice, words) == [title]


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("買牛奶", "牛"),
        ("買牛奶", "奶"),
        ("買牛奶", "牛奶"),
        ("買牛奶和麵包", "麵 牛"),
        ("ミルクを買う", "買"),
        ("ミルクを買う", "ルク"),
        ("ひらがな", "ら"),
        ("우유 사기", "우유"),
        ("\U00020000\U00020001", "\U00020001"),
        ("купить молоко", "МОЛ"),
        ("لشراء الحليب", "الحليب"),
        ("दूध खरीदें", "खरीदें"),
    ],
)
def test_words_of_every_script_are_found(alice, title, words):
    alice.creates(title)
    alice.creates("Something else")

    assert found(alice, words) == [title]


@pytest.mark.parametrize(
    "emoji", ["🥛", "😀", "☀️", "✅", "❤️", "👍🏽", "👩‍💻", "🇩🇪", "⭐", "⏰", "⬆️", "▶️", "🫠"]
)
def test_pictures_are_found(alice, emoji):
    title = f"Buy milk{emoji}now"
    alice.creates(title)
    alice.creates("Something else")

    assert found(alice, emoji) == [title]
    assert found(alice, f"milk {emoji}") == [title]


def test_other_peoples_tasks_are_never_found(alice, bob):
    bob.creates("Buy milk", description="milk")
    alice.creates("Milk the cow")

    assert found(alice, "milk") == ["Milk the cow"]
    assert found(bob, "milk") == ["Buy milk"]
    assert found(alice, "buy") == []


@pytest.mark.parametrize("base", ["/tasks", "by path"])
def test_what_either_path_has_written_is_found(alice, base):
    base = alice.path if base == "by path" else base
    response = alice.post(base, {"title": "Käse", "description": "Gouda"})
    assert found(alice, "kase gouda") == ["Käse"]

    alice.put(f"{base}/{response.json['id']}", {"title": "Brot", "description": None})

    assert found(alice, "kase") == found(alice, "gouda") == []
    assert found(alice, "brot") == ["Brot"]


def test_the_search_follows_a_change_of_the_title_alone(alice):
    task = alice.creates("Buy milk", description="oat")

    alice.patch(f"/tasks/{task['id']}", {"title": "Buy crème"})

    assert found(alice, "milk") == []
    assert found(alice, "creme") == found(alice, "oat creme") == ["Buy crème"]


def test_the_search_follows_a_change_of_the_description_alone(alice):
    task = alice.creates("Buy milk", description="oat")

    alice.patch(f"/tasks/{task['id']}", {"description": "brûlée"})
    assert found(alice, "oat") == []
    assert found(alice, "brulee") == found(alice, "milk brulee") == ["Buy milk"]

    alice.patch(f"/tasks/{task['id']}", {"description": None})
    assert found(alice, "brulee") == []
    assert found(alice, "milk") == ["Buy milk"]


def test_a_change_of_neither_leaves_it_found(alice):
    task = alice.creates("Buy milk", description="oat")

    alice.patch(f"/tasks/{task['id']}", {"order": 3})
    alice.patch(f"/tasks/{task['id']}/complete")

    assert found(alice, "oat milk") == ["Buy milk"]


def test_a_task_made_under_an_id_of_ones_own_is_found(alice):
    path = "/tasks/01936b2e-8f3a-7c41-9d52-3b1f0a6e4c77"

    alice.put(path, {"title": "Käse"}, headers={"If-None-Match": "*"})

    assert found(alice, "kase") == ["Käse"]


def test_a_deleted_task_is_not_found(alice):
    alice.delete(f"/tasks/{alice.creates()['id']}")

    assert found(alice, "milk") == []


@pytest.mark.parametrize("sort", ["-created_at", "title", "completed_at"])
def test_what_is_found_comes_in_pages(alice, sort):
    for number in range(14):
        alice.creates(f"{'Milk' if number % 2 else 'Bread'} {number}", completed=number % 3 == 0)
    first = f"q=milk&sort={sort}&limit=3"

    seen = []
    query = first
    while query:
        page = alice.get(f"/tasks?{query}").json
        seen.append([task["title"] for task in page["tasks"]])
        query = page["next_cursor"] and f"{first}&cursor={page['next_cursor']}"

    assert [len(page) for page in seen] == [3, 3, 1]
    whole = alice.get(f"/tasks?q=milk&sort={sort}").json["tasks"]
    assert [title for page in seen for title in page] == [task["title"] for task in whole]
    assert {task["title"] for task in whole} == {f"Milk {number}" for number in range(1, 14, 2)}


def test_the_cursor_of_one_search_is_not_that_of_another(alice):
    for _ in range(2):
        alice.creates("Buy milk")
    cursor = alice.get("/tasks?q=milk&limit=1").json["next_cursor"]

    response = alice.get(f"/tasks?q=buy&limit=1&cursor={cursor}")

    assert_refused_field(response, "/query/cursor", "of_another_list")


@pytest.mark.parametrize(
    ("title", "words", "is_found"),
    [
        ("राजा मोर", "राम", False),
        ("राजा मोर", "राजा", True),
        ("काम तो बस", "किताब", False),
        ("ซื้อนมวันนี้", "นม", True),
        ("がっこう", "か", False),
        ("한국어", "한국", True),
    ],
)
def test_vowel_signs_are_letters(alice, title, words, is_found):
    task = alice.creates(title)

    assert found(alice, words) == ([task["title"]] if is_found else [])
