/** Texts of tools. */
export default {
  tools: "Werkzeuge",
  toolsLead:
    "Was das Modell aufrufen darf. Alles läuft auf diesem Gerät. Kleine Modelle rufen Werkzeuge " +
    "schlecht oder gar nicht auf.",
  toolName_calculator: "Rechner",
  toolHelp_calculator: "Rechnet. Läuft, ohne zu fragen.",
  toolName_clock: "Uhr",
  toolHelp_clock: "Nennt Datum und Uhrzeit. Läuft, ohne zu fragen.",
  toolName_python: "Python",
  toolHelp_python:
    "Führt ein Programm bis zu 10 Sekunden lang aus, ohne Netz, Dateien oder Chats. Du wirst vorher " +
    "gefragt.",
  toolName_search_chats: "Meine Chats durchsuchen",
  toolHelp_search_chats:
    "Lässt das Modell Ausschnitte deiner anderen Chats lesen. Du wirst vorher gefragt.",
  toolAlways: "In diesem Chat erlaubt",
  toolNever: "In diesem Chat abgelehnt",
  toolForget: "Wieder fragen",
  toolAsk: "{name}: ausführen?",
  toolOnce: "Einmal ausführen",
  toolAlwaysRun: "Immer in diesem Chat",
  toolRefuse: "Ablehnen",
  toolNeverRun: "Nie in diesem Chat",
  toolState_asking: "wartet auf dich",
  toolState_running: "läuft",
  toolState_done: "fertig",
  toolState_error: "gescheitert",
  toolState_refused: "abgelehnt",
  toolState_stopped: "angehalten",
  toolArguments: "Argumente",
  toolResult: "Ergebnis",
  toolLimit:
    "Das Modell hat {count}-mal Werkzeuge aufgerufen; es wurde gebeten, ohne sie zu antworten.",
};
